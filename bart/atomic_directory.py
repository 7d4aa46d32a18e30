"""Write a directory that is either complete or absent, and find the permissions of new files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bart.errors import InputError


@contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``, which takes its place if the block ends without an exception.

    An older ``folder`` stays as it is until the new files are in its place, then it is deleted. A killed process leaves
    a hidden folder ``.<name>.part-<process id>`` behind or, if it was killed during the change, the older folder as
    ``.<name>.old-<process id>``.

    Raises:
        InputError: ``folder`` cannot be written, for example because the disk is full.
    """
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    retired = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # left by a killed process with the same id
    try:
        partial.mkdir(parents=True)
        yield partial

        # Put the new folder in the place of the old one, or the old one back if that fails.
        _sync(partial)
        if folder.exists():
            folder.rename(retired)
        try:
            partial.rename(folder)
        except BaseException:
            if retired.exists():
                retired.rename(folder)
            raise
        with suppress(OSError):  # the folder above may not be readable
            _sync(folder.parent, with_content=False)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{folder}: cannot be written: {reason}; what was there before is as it was") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _sync(folder: Path, with_content: bool = True) -> None:
    """Flush a folder to the disk, with its content unless told otherwise: a rename could reach the disk before it."""
    for path in [*(folder.rglob("*") if with_content else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def new_file_mode() -> int:
    """Return the mode of new files: reading and writing for all, less what the umask forbids."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
