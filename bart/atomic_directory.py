"""Writing a directory that is either complete or not there, and who may read what is written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bart.errors import InputError


@contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``folder``, which takes its place if the block ends without an exception.

    What was at ``folder`` is deleted then, when the new files are in its place. Until then it stays as it is. A killed
    process leaves a hidden folder ``.<name>.part-<process id>`` behind or, in the moment of the change, the old one as
    ``.<name>.old-<process id>``. Raises InputError, naming ``folder``, for an OSError such as that of a full disk.
    """
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    retired = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had the same id
    try:
        partial.mkdir(parents=True)
        yield partial
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
    """Write a folder down to the disk, and what is in it: a rename may be on the disk before what is renamed."""
    for path in [*(folder.rglob("*") if with_content else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def new_file_mode() -> int:
    """The mode that a new file has by default: what the umask leaves of reading and writing for all."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
