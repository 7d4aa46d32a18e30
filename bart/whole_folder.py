"""A folder that either is there whole or is not there, and who may read what is written."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder beside ``folder``, which takes its place when the block ends without an exception.

    What was at ``folder`` is deleted then. Until then it stays as it is. A killed process leaves a hidden folder
    ``.<name>.part-<process id>`` behind or, in the moment of the change, the old one as ``.<name>.old-<process id>``.
    """
    folder = folder.absolute()
    partial = folder.with_name(f".{folder.name}.part-{os.getpid()}")
    retired = folder.with_name(f".{folder.name}.old-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had the same id
    partial.mkdir(parents=True)
    try:
        yield partial
        if folder.exists():
            folder.rename(retired)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def new_file_mode() -> int:
    """The mode that a new file has by default: what the umask leaves of reading and writing for all."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
