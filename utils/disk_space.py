"""Whether the checkpoints of a run will find room, seen before it begins."""

import shutil
from pathlib import Path

from torch import nn

from bart.errors import InputError
from utils.args import TrainingArguments
from utils.checkpointing import NEWEST_KEPT, checkpoints

_MOMENTS = {"adamw": 2, "lamb": 2, "adafactor": 1}  # numbers kept by an optimizer for one that it trains, at most
_BYTES_OF_NUMBER = 4
_BYTES_BESIDE = 2**20  # of a checkpoint: random states, history; and of the other files


def check_disk_space(arguments: TrainingArguments, model: nn.Module) -> None:
    """Raise InputError where the disk of --output_dir is too small for what will lie there at once.

    These are the checkpoints that are kept, one that is being written, and the best model. What an earlier start of the
    run has left there counts as free: it is replaced.
    """
    folder = Path(arguments.output_dir)
    weights = sum(parameter.numel() for parameter in model.parameters()) * _BYTES_OF_NUMBER
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) * _BYTES_OF_NUMBER
    checkpoint = weights + _MOMENTS[arguments.optimizer] * trained + _BYTES_BESIDE
    at_once = NEWEST_KEPT + arguments.save_top_k + 1
    needed = at_once * checkpoint + weights
    there = sum(path.stat().st_size for path in checkpoints(folder))
    free = shutil.disk_usage(_existing(folder)).free + there
    if free < needed:
        raise InputError(
            f"--output_dir {folder}: the run needs {_shown(needed)} ({at_once} checkpoints of {_shown(checkpoint)} and"
            f" the best model), and {_shown(free)} are free; make room, or give another folder, a lower --save_top_k,"
            " or --no-check_disk_space"
        )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir())


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
