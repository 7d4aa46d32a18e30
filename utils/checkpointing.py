"""Checkpoint files: their names, writing them whole, and finding the newest one that can be read."""

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from bart.errors import InputError
from utils.files import atomic_write

# What zipfile raises where bits are flipped: in lengths, in names, in the compression method.
_DAMAGED_ARCHIVE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, struct.error)
_NAME = re.compile(r"_epoch(\d+)_step(\d+)\.ckpt")


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the target, syncs and renames; reads tensors and plain containers alone.

    Lightning's own goes through TMPDIR: across file systems a kill during its move destroys the file that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, or raise OSError and leave what was there."""
        with atomic_write(path, "wb") as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read without executing what is in the file, whatever ``weights_only`` says."""
        return load_checkpoint(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Only tensors and plain containers are unpickled."""
    return torch.load(path, map_location="cpu", weights_only=True)


def stored_arguments(path: Path) -> dict[str, Any]:
    """The command line of the run that a checkpoint belongs to. The tensors stay on the disk."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)["hyper_parameters"]["arguments"]


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
    """Whether a checkpoint's archive is complete and every CRC in it fits; torch.load does not look at these."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except _DAMAGED_ARCHIVE:
        return False
