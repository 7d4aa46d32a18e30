"""Folders of what is computed from a corpus once and then kept: found, or made by one process while others wait.

They lie in ``<data folder>/.prepared``, or in the user's cache where the data folder takes no files. A folder under its
final name is whole: it is written under another one, synced to disk and renamed.
"""

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from bart.errors import InputError

from .atomic_files import sync_folder

FOLDER = ".prepared"
_PART = ".part-"

Found = TypeVar("Found")


def places_of(data_dir: Path) -> list[Path]:
    """Where what belongs to a data folder is kept, the best place first."""
    return [data_dir / FOLDER, cache_place(str(data_dir.resolve()))]


def cache_place(name: str) -> Path:
    """The place in the user's cache for what belongs to ``name``."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "bart" / "prepared" / hashlib.sha256(name.encode()).hexdigest()[:20]


def get_or_create(
    places: Sequence[Path],
    name: str,
    what: str,
    read: Callable[[Path], Found | None],
    write: Callable[[Path], None],
    delete_useless: Callable[[Path], None],
) -> Found:
    """What ``read`` finds in the folder ``name`` of a place; where that is None, what ``write`` puts there first.

    One process at a time writes, into an empty folder; ``delete_useless`` may then tidy up the place. ``what`` is a
    word for messages. Raises InputError where nothing can be written, or what ``write`` raises.
    """
    for place in places:
        if (found := read(place / name)) is not None:
            return found
    place = _first_writable(places, what)
    with _alone_in(place, what) as alone:
        if (found := read(place / name)) is not None:  # by the process that was waited for
            return found
        if alone:
            for leftover in place.glob(f"{_PART}*"):  # of killed processes
                shutil.rmtree(leftover, ignore_errors=True)
            delete_useless(place)
        try:
            _write(place, name, read, write)
        except OSError as error:
            raise InputError(f"{place}: {what} cannot be written: {error.strerror}") from error
        found = read(place / name)
    if found is None:
        raise InputError(f"{place / name}: was damaged while it was written; is the disk sound?")
    return found


def _first_writable(places: Sequence[Path], what: str) -> Path:
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK | os.X_OK):
            return place
    names = " and ".join(map(str, places))
    raise InputError(f"{names} cannot be written; set XDG_CACHE_HOME to a folder for the {what}")


@contextmanager
def _alone_in(place: Path, what: str) -> Iterator[bool]:
    """Wait until no other process prepares there. False where the file system has no locks; a killed process has none.

    Without locks two processes do the same work, and the first to finish is the one that counts.
    """
    descriptor = os.open(place, os.O_RDONLY)
    try:
        yield _lock(descriptor, place, what)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, place: Path, what: str) -> bool:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{place}: waiting for another process that prepares {what}", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _write(place: Path, name: str, read: Callable[[Path], object], write: Callable[[Path], None]) -> None:
    part = place / f"{_PART}{uuid.uuid4().hex}"  # which no other process takes, on this machine or another
    part.mkdir()
    try:
        write(part)
        sync_folder(part)
        if read(place / name) is None:
            shutil.rmtree(place / name, ignore_errors=True)  # damaged
        try:
            part.rename(place / name)
        except OSError:
            if not (place / name).exists():  # another process was faster
                raise
        sync_folder(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
