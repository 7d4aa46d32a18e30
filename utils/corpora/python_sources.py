"""Finds the Python sources that the corpora are made from: the modules of wheels that requirements/*.txt fix.

They are the same for every machine, every Python, and whatever else is installed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from .wheels import description_of_wheel, fetch_wheels, modules_of_wheel

_REQUIREMENTS = Path(__file__).parents[2] / "requirements"
DOCSTRINGS = _REQUIREMENTS / "docstrings.txt"  # what the docstring corpus is made from
PROSE = _REQUIREMENTS / "prose.txt"  # what is read besides for pre-training


class Readable(Protocol):
    """A file on disk or in a wheel."""

    def read_bytes(self) -> bytes:
        """Read the file's content."""
        ...


class PythonSources(NamedTuple):
    """The modules to make a corpus from, and the versions that they are of."""

    modules: Mapping[str, Readable]  # by path in their wheel, in alphabetical order
    versions: Mapping[str, str]  # of the packages
    descriptions: Mapping[str, str]  # their long descriptions, by package


def find_python_sources(locks: list[Path], wheels: Path) -> PythonSources:
    """List the modules of the locked wheels, but no tests; pip downloads the wheels that are not in ``wheels`` yet.

    Raises:
        InputError: A lock cannot be read, or pip failed.
    """
    modules: dict[str, Readable] = {}
    versions, descriptions = {}, {}
    for lock in locks:
        for locked, wheel in fetch_wheels(lock, wheels).items():
            for name, file in modules_of_wheel(wheel).items():
                modules.setdefault(name, file)
            versions[locked.name] = locked.version
            descriptions[locked.name] = description_of_wheel(wheel)
    return PythonSources(dict(sorted(modules.items())), versions, descriptions)
