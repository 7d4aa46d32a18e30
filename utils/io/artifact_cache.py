"""A cache of folders that are computed from a corpus once: one process makes a folder, others find it or wait for it.

The folders lie in ``<data folder>/.prepared``, or in the user's cache if the data folder is read-only. A folder under
its final name is complete: it is written under a temporary name, synced to disk and renamed.
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
    """Return the places that may hold the artifacts of a data folder, the preferred one first."""
    return [data_dir / FOLDER, cache_place(str(data_dir.resolve()))]


def cache_place(name: str) -> Path:
    """Return the place in the user's cache for the artifacts of ``name``."""
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
    """Read an artifact from the first place that holds it; if none does, create it in the first writable place.

    Only one process at a time creates.

    Args:
        places: folders that may hold the artifact, in the order of preference.
        name: of the artifact's folder within a place.
        what: the artifact in a word, for messages.
        read: returns the artifact in a folder, or None if the folder is missing, incomplete or damaged.
        write: creates the artifact in an empty folder.
        delete_useless: removes from a place what is no longer needed; called before ``write``.

    Raises:
        InputError: no place can be written, or the artifact is damaged after it was written. Errors of ``write`` pass.
    """
    for place in places:
        if (found := read(place / name)) is not None:
            return found
    place = _first_writable(places, what)
    with _exclusive_use(place, what) as is_exclusive:
        if (found := read(place / name)) is not None:  # created by the process that this one waited for
            return found
        if is_exclusive:
            for leftover in place.glob(f"{_PART}*"):  # of killed processes
                shutil.rmtree(leftover, ignore_errors=True)
            delete_useless(place)
        try:
            _write(place, name, read, write)
        except OSError as error:
            raise InputError(f"{place}: {what} cannot be written: {error.strerror}") from error
        found = read(place / name)
    if found is None:
        raise InputError(f"{place / name}: was damaged while it was written; check the disk")
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
def _exclusive_use(place: Path, what: str) -> Iterator[bool]:
    """Wait until no other process creates an artifact in the place. The kernel frees the lock of a killed process.

    Yields False if the file system has no locks. Processes may then do the same work, and the first to finish wins.
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
    part = place / f"{_PART}{uuid.uuid4().hex}"  # a name that no other process uses, on this machine or another
    part.mkdir()
    try:
        write(part)
        sync_folder(part)
        if read(place / name) is None:
            shutil.rmtree(place / name, ignore_errors=True)  # damaged
        try:
            part.rename(place / name)
        except OSError:
            if not (place / name).exists():  # else another process was faster
                raise
        sync_folder(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
