"""Downloads the wheels whose modules are the docstring corpus, and reads their modules without installing them.

    python -m utils.corpora.wheels requirements/docstrings.in FOLDER

downloads the newest wheels of a list of packages and prints the lines of their lock: versions and hashes.
"""

import email
import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bart.errors import InputError

from ..cli.options import option
from ..cli.run import run_command

# Wheels for every platform, as they are chosen for the oldest Python that the project runs on: so the same ones
# everywhere.
_ANY_PLATFORM = ("--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", "--python-version=3.11")
_LOCKED = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")


class LockedWheel(NamedTuple):
    """A line of a lock."""

    name: str
    version: str
    sha256: str


class WheelFile(NamedTuple):
    """A file in a wheel, read without unpacking the wheel."""

    wheel: Path
    name: str

    def read_bytes(self) -> bytes:
        """Read the file's content."""
        return _archive(self.wheel).read(self.name)


@lru_cache(maxsize=256)
def _archive(wheel: Path) -> zipfile.ZipFile:
    """Open a wheel once in each process: its list of files takes longer to read than one of the files."""
    return zipfile.ZipFile(wheel)


def read_lock(path: Path) -> list[LockedWheel]:
    """Read a lock: a line ``name==version --hash=sha256:...`` for each wheel, and comments.

    Raises:
        InputError: The file is missing (it is not installed with the package), or a line is no such line.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; this corpus is made by a checkout, which has that list")
    wheels = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = _LOCKED.fullmatch(line)
        if match is None:
            raise InputError(f"{path}, line {number}: not 'name==version --hash=sha256:...'; git can restore the file")
        wheels.append(LockedWheel(**match.groupdict()))
    return wheels


def fetch_wheels(lock: Path, folder: Path) -> dict[LockedWheel, Path]:
    """Find the wheels of a lock in ``folder``; pip downloads those that are not there yet.

    Raises:
        InputError: pip failed.
    """
    locked = read_lock(lock)
    found = _find(locked, folder)
    if len(found) < len(locked):
        print(f"Downloading {len(locked) - len(found)} wheels to {folder}: texts to read, nothing is installed.")
        _download(["--require-hashes", "--requirement", str(lock)], folder)
        found = _find(locked, folder)
    if absent := [wheel.name for wheel in locked if wheel not in found]:
        raise InputError(f"{folder}: pip left no wheel of {', '.join(absent)} there; delete the folder and try again")
    return found


def _find(locked: Iterable[LockedWheel], folder: Path) -> dict[LockedWheel, Path]:
    """Find wheels by their content: the spelling of their names does not matter, and a broken file is not one."""
    hashes = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.glob("*.whl"))}
    return {wheel: hashes[wheel.sha256] for wheel in locked if wheel.sha256 in hashes}


def _download(what: Sequence[str], folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
    process = subprocess.run(
        [*command, *_ANY_PLATFORM, "--dest", str(folder), *what], check=False, stdout=sys.stderr.fileno()
    )
    if process.returncode:
        raise InputError(
            f"pip could not download the wheels to {folder} (its reason is above): check the network and the free disk "
            "space, or put the wheels into that folder yourself"
        )


def modules_of_wheel(wheel: Path) -> dict[str, WheelFile]:
    """List the modules of a wheel, but no tests, by their path in it."""
    names = (name for name in _archive(wheel).namelist() if _is_wanted(PurePosixPath(name)))
    return {name: WheelFile(wheel, name) for name in names}


def _is_wanted(path: PurePosixPath) -> bool:
    name = path.name
    is_test = name.startswith("test_") or name == "conftest.py" or not {"test", "tests"}.isdisjoint(path.parts)
    return path.suffix == ".py" and not is_test


def description_of_wheel(wheel: Path) -> str:
    """Read the long description of a wheel's package."""
    names = _archive(wheel).namelist()
    metadata = next(name for name in names if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
    message = email.message_from_bytes(_archive(wheel).read(metadata))
    return message.get_payload(decode=True).decode("utf-8", "replace")  # type: ignore[union-attr]  # it has one part


@dataclass(frozen=True)
class LockArguments:
    packages: str = option("", "Lock", "list of packages, such as requirements/docstrings.in", positional=True)
    folder: str = option("", "Lock", "folder for their wheels, which are not kept for long", positional=True)

    def check(self) -> None:
        """Nothing to check together."""


def _lock_lines(packages: Path, wheels: Iterable[Path]) -> Iterator[str]:
    yield f"# Locked by scripts/lock_corpora.sh from {packages.name}."
    for wheel in sorted(wheels, key=lambda path: path.name.lower()):
        name, version = wheel.name.split("-")[:2]
        yield f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"


def _main(arguments: LockArguments) -> None:
    folder = Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    _download(["--requirement", arguments.packages], folder)
    print("\n".join(_lock_lines(Path(arguments.packages), folder.glob("*.whl"))))


if __name__ == "__main__":
    sys.exit(run_command(LockArguments, "Lock the wheels of a list of packages.", _main))
