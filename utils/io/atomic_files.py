"""Write files atomically: whenever a program is killed, readers find the complete old file or the complete new one."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from bart.atomic_directory import new_file_mode
from bart.errors import InputError


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file that becomes ``path`` when the block ends without an error.

    The temporary file lies beside ``path``, not in TMPDIR: a rename is atomic only within one file system. It is synced
    to disk before the rename. If the block raises, ``path`` stays as it was.

    Args:
        path: the file to write.
        mode: "w" (UTF-8, line ends stay as written) or "wb".

    Raises:
        InputError: for an OSError, such as a full disk.
    """
    path = Path(path)
    text = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
    with (
        failure_of_writing(path),
        tempfile.NamedTemporaryFile(
            mode, dir=path.parent, prefix=f".{path.name}.", suffix=".part", delete=False, **text
        ) as file,
    ):
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, new_file_mode())  # only its owner can read a temporary file
            os.replace(file.name, path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(FileNotFoundError):  # it has been renamed
                os.unlink(file.name)
            raise


def delete_atomically_written(path: Path) -> None:
    """Delete a file, if it is there, and the temporary files of it that killed programs have left."""
    path.unlink(missing_ok=True)
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink(missing_ok=True)


@contextmanager
def failure_of_writing(path: Path, advice: str = "what was there before is as it was") -> Iterator[None]:
    """Turn an OSError (a full disk, a read-only folder) into an InputError that names ``path`` and ends with advice."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}; {advice}") from error


def make_folder(folder: Path, name: str) -> None:
    """Create a folder for results, unless it exists.

    Raises:
        InputError: the folder cannot be created or written to; the message begins with ``name``.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{name} {folder}: cannot be made: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{name} {folder}: cannot be written to; give another folder")


def sync_folder(folder: Path) -> None:
    """Make renames within a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
