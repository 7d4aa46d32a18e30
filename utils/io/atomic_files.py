"""Folders to write to, and files of which a reader finds the old one or the new one whole, whenever killed."""

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
    """Open a temporary file beside ``path``; when the block ends well, sync it to disk and rename it to ``path``.

    Beside, not in TMPDIR: a rename is atomic only within one file system. When the block raises, ``path`` keeps what it
    held. ``mode`` is "w" (UTF-8, lines end as written) or "wb". Raises InputError for an OSError (a full disk).
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
            os.chmod(file.name, new_file_mode())  # a temporary file is readable by its owner alone
            os.replace(file.name, path)
            sync_folder(path.parent)
        except BaseException:
            with suppress(FileNotFoundError):  # renamed already
                os.unlink(file.name)
            raise


@contextmanager
def failure_of_writing(path: Path) -> Iterator[None]:
    """Turn an OSError (a full disk, a folder that takes no files) into an InputError that names ``path``."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written: {error.strerror or error}; what was there before is as it was"
        ) from error


def make_folder(folder: Path, name: str) -> None:
    """Make a folder for results, or see that it can be written. Raises InputError, beginning with ``name``."""
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
