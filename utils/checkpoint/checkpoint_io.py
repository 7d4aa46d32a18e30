"""Checkpoint files: their names, writing them whole, and finding the newest one that can be read."""

import os
import pickle
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
from bart.checkpoints.safe_load import first_line
from bart.errors import InputError

from ..io.atomic_files import atomic_write

# What zipfile raises where bits are flipped: in lengths, in names, in the compression method.
_DAMAGED_ARCHIVE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)
NEWEST_KEPT = 2  # checkpoints of a run, beside the best
_NAME = re.compile(r"_epoch(\d+)_step(\d+)\.ckpt")


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs, reads what is on the disk again, and renames; reads plain data alone.

    Lightning's own goes through TMPDIR: across file systems a kill during its move destroys the file that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, or raise InputError and leave what was there."""
        with atomic_write(path, "wb") as file:
            writer = ChecksummingWriter(file)
            try:
                torch.save(checkpoint, writer)
            except RuntimeError:
                if writer.error is not None:  # torch does not say which
                    raise writer.error from None
                raise
            writer.write_checksum()
            check_written(file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read without executing what is in the file, whatever ``weights_only`` says."""
        return load_checkpoint(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


def check_written(file: IO[bytes]) -> None:
    """Read a file back from the disk. Raises OSError where it is not what was written."""
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):  # from the disk itself, not from the memory in which it still is
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if not matches_checksum(Path(file.name)):
        raise OSError("what was read back is not what was written; is the disk sound?")


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Only tensors and plain containers are unpickled.

    Raises InputError where there is more in it, of which nothing is run, or where it cannot be read.
    """
    return _load(path)


def stored_arguments(path: Path) -> dict[str, Any]:
    """The command line of the run that a checkpoint belongs to. The tensors stay on the disk.

    Raises InputError as load_checkpoint does.
    """
    try:
        return _load(path, mmap=True)["hyper_parameters"]["arguments"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: is no checkpoint of a training of this project; give another folder") from error


def _load(path: str | os.PathLike[str], mmap: bool = False) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{os.fspath(path)}: holds more than tensors and plain data; nothing of it was run. Delete it: it is not a"
            " checkpoint of this project"
        ) from error
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise InputError(
            f"{os.fspath(path)}: cannot be read ({first_line(error)}); delete it or copy it here again"
        ) from error


def checkpoint_name(epoch: int, step: int) -> str:
    """``_epoch1_step2000.ckpt``: written after ``step`` optimizer steps, in epoch ``epoch`` (from 0)."""
    return f"_epoch{epoch}_step{step}.ckpt"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first: by step as a number, for as a text _epoch9 comes after _epoch10."""
    found = [path for path in folder.glob("*.ckpt") if _NAME.fullmatch(path.name)]
    return sorted(found, key=checkpoint_step)


def checkpoint_step(path: Path) -> int:
    """The optimizer steps in a checkpoint's name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named as a checkpoint")
    return int(match[2])


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; None where there is no checkpoint. Warns of those that are damaged.

    Raises InputError where there are checkpoints, all damaged.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        if is_whole(path):
            return path
        rank_zero_warn(f"{path} is damaged (truncated or altered); the checkpoint before it is used")
    if found:
        raise InputError(f"{folder}: every checkpoint is damaged; start anew with --overwrite_output_dir")
    return None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is what its checksum says; of one that has none, the archive's own are looked at."""
    try:
        is_intact = matches_checksum(path)
        if is_intact is not None:
            return is_intact
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except _DAMAGED_ARCHIVE:
        return False
