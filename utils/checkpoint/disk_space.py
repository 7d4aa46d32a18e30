"""Checks that the disk has room for a run's checkpoints, before the run begins."""

import shutil
from pathlib import Path

from torch import nn

from bart.errors import InputError

from ..cli.training_args import OPTIMIZERS
from .checkpoint_io import NEWEST_KEPT, checkpoints

_BYTES_OF_NUMBER = 4
_OTHER_BYTES = 2**20  # a checkpoint's random states and history, and the run's other files


def check_disk_space(folder: Path, model: nn.Module, optimizer: str, save_top_k: int, average: int = 0) -> None:
    """Raise InputError if the disk of a results folder is too small for the checkpoints and the final models.

    Args:
        optimizer: its name, as in --optimizer.
        save_top_k: number of best checkpoints that are kept.
        average: number of checkpoints that are kept to be averaged.
    """
    weights = sum(parameter.numel() for parameter in model.parameters()) * _BYTES_OF_NUMBER
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) * _BYTES_OF_NUMBER
    checkpoint = weights + OPTIMIZERS[optimizer] * trained + _OTHER_BYTES
    at_once = checkpoints_at_once(save_top_k, average)
    needed = at_once * checkpoint + models_at_the_end(average) * weights
    free = free_space(folder)
    if free < needed:
        models = "the best and the averaged model" if average > 0 else "the best model"
        flags = "--save_top_k or --average_checkpoints" if average > 0 else "--save_top_k"
        raise InputError(
            f"--output_dir {folder}: the run needs {_shown(needed)} ({at_once} checkpoints of {_shown(checkpoint)} and"
            f" {models}), and {_shown(free)} are free; make room, or give another folder, a lower {flags},"
            " or --no-check_disk_space"
        )


def checkpoints_at_once(save_top_k: int, average: int) -> int:
    """Return the largest number of checkpoints in a results folder: those that are kept, and one being written."""
    return NEWEST_KEPT + save_top_k + average + 1


def models_at_the_end(average: int) -> int:
    """Return the number of models that are written at the end: the best, and the mean of ``average`` checkpoints."""
    return 2 if average > 0 else 1


def free_space(folder: Path) -> int:
    """Return the bytes that a run may fill in a results folder, which need not exist yet.

    The checkpoints of an earlier start of the run count as free: they are replaced.
    """
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(existing).free + sum(path.stat().st_size for path in checkpoints(folder))


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
