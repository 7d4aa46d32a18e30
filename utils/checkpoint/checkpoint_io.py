"""Checkpoint files: their names, safe writing and reading, and the search for the newest intact one."""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from bart.checkpoints.checksummed_file import ChecksummingWriter, matches_checksum
from bart.checkpoints.safe_load import OWN_MOST_BYTES, load_weights_only, plain_settings
from bart.errors import InputError

from ..io.atomic_files import atomic_write

# The errors that zipfile raises if bits are flipped: in lengths, in names, in the compression method.
_DAMAGED_ARCHIVE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)
NEWEST_KEPT = 2  # checkpoints of a run, beside the best
_NAME = re.compile(r"_epoch(\d+)_step(\d+)\.ckpt")


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoint plugin for Lightning. A kill, a full disk or a bad disk leaves the previous file as it was.

    A file is written beside its target, synced, read back from the disk, and renamed. Lightning's own plugin writes to
    TMPDIR: if that is another file system, a kill while the file is moved destroys the previous file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a file. Raises InputError, and leaves a previous file as it was, if that is impossible."""
        with atomic_write(path, "wb") as file:
            writer = ChecksummingWriter(file)
            try:
                torch.save(checkpoint, writer)
            except RuntimeError:
                if writer.error is not None:  # torch's message lacks the reason
                    raise writer.error from None
                raise
            writer.write_checksum()
            check_written(file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a file without running code from it, whatever ``weights_only`` says."""
        return load_checkpoint(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


def check_written(file: IO[bytes]) -> None:
    """Read a file back from the disk. Raises OSError if it is not what was written."""
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):  # forget the copy in memory, so that the disk itself is read
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if not matches_checksum(Path(file.name)):
        raise OSError("what was read back is not what was written; check the disk")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Only tensors and plain containers are unpickled.

    Raises InputError if the file cannot be read, or if it holds anything else, of which nothing is run.
    """
    return _load(path)


def stored_arguments(path: Path) -> dict[str, Any]:
    """Return every flag, by name, of the run that a checkpoint belongs to. The tensors stay on the disk.

    Raises InputError if the file cannot be read, or is not a checkpoint of this project.
    """
    parameters = _load(path, mmap=True).get("hyper_parameters")
    arguments = parameters.get("arguments") if isinstance(parameters, dict) else None
    if not isinstance(arguments, dict):
        raise InputError(f"{path}: is not a checkpoint of this project; give another folder")
    return plain_settings(arguments, path)


def _load(path: str | os.PathLike[str], mmap: bool = False) -> dict[str, Any]:
    advice = "delete it or copy it here again"
    stored = load_weights_only(Path(path), mmap=mmap, most_bytes=OWN_MOST_BYTES, advice=advice)
    if not isinstance(stored, dict):
        raise InputError(f"{os.fspath(path)}: is not a checkpoint of this project; delete it")
    return stored


def checkpoint_name(epoch: int, step: int) -> str:
    """Return a name such as _epoch1_step2000.ckpt: after ``step`` optimizer steps, in epoch ``epoch`` (from 0)."""
    return f"_epoch{epoch}_step{step}.ckpt"


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints in a folder by their steps, oldest first."""
    found = [path for path in folder.glob("*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=checkpoint_step)  # by name, _epoch10 would come before _epoch9


def checkpoint_step(path: Path) -> int:
    """Return the number of optimizer steps in a checkpoint's name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named as a checkpoint")
    return int(match[2])


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest intact checkpoint, None if there is no checkpoint. Warns of every damaged one on the way.

    Raises InputError if all checkpoints are damaged.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        if is_intact(path):
            return path
        rank_zero_warn(f"{path} is damaged (truncated or altered); the checkpoint before it is used")
    if found:
        raise InputError(f"{folder}: every checkpoint is damaged; start anew with --overwrite_output_dir")
    return None


def is_intact(path: Path) -> bool:
    """Return whether a checkpoint matches its checksum, or the zip archive's own if an earlier version wrote it."""
    try:
        matches = matches_checksum(path)
        if matches is not None:
            return matches
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except _DAMAGED_ARCHIVE:
        return False
