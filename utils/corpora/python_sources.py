"""Finds the Python sources that every machine with this project has: standard library and locked requirements."""

import platform
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from bart.errors import InputError

_RUNTIME_LOCK = Path(__file__).parents[2] / "requirements" / "runtime.txt"
# Parts of the standard library that the same version of Python may lack, as Linux distributions have separate packages
# for them; and folders in it for what is installed later.
_OPTIONAL_PARTS = {"distutils", "ensurepip", "idlelib", "lib2to3", "tkinter", "turtle.py", "turtledemo"}
_INSTALLED_PARTS = {"dist-packages", "site-packages"}
_TEST_FOLDERS = {"test", "tests"}


class PythonSources(NamedTuple):
    """The modules to make a corpus from, and the versions that they are of."""

    modules: dict[str, Path]  # by path below the library or below site-packages, in alphabetical order
    versions: dict[str, str]  # of Python and of every distribution that was found
    absent: list[str]  # locked distributions that are not installed


def find_python_sources() -> PythonSources:
    """Find the modules, but no tests, that the running interpreter imports. Their folders make no difference.

    Raises InputError if the lock is missing: it is not installed with the package.
    """
    modules = _standard_library()
    versions = {platform.python_implementation(): platform.python_version()}
    absent = []
    for name in _locked_names():
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            absent.append(name)
            continue
        versions[name] = distribution.version
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if _is_wanted(file.parts) and path.is_file():
                modules.setdefault(file.as_posix(), path)
    return PythonSources(dict(sorted(modules.items())), versions, absent)


def _locked_names() -> list[str]:
    if not _RUNTIME_LOCK.is_file():
        raise InputError(f"{_RUNTIME_LOCK}: no such file; this corpus is made by a checkout, which has that list")
    lines = (line.partition("#")[0].strip() for line in _RUNTIME_LOCK.read_text(encoding="utf-8").splitlines())
    return sorted(line.partition("==")[0] for line in lines if line)


def _standard_library() -> dict[str, Path]:
    library = Path(sysconfig.get_path("stdlib"))
    parts = {path.relative_to(library).parts: path for path in library.rglob("*.py")}
    left_out = _OPTIONAL_PARTS | _INSTALLED_PARTS
    return {"/".join(name): path for name, path in parts.items() if name[0] not in left_out and _is_wanted(name)}


def _is_wanted(parts: tuple[str, ...]) -> bool:
    """Whether a path is that of a module that is no test and lies inside the folder of the installed packages."""
    *folders, file = parts
    is_test = file.startswith("test_") or file == "conftest.py" or not _TEST_FOLDERS.isdisjoint(folders)
    return file.endswith(".py") and not is_test and ".." not in folders
