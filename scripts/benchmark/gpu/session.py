"""What the rows of one process share: the device, a folder for models, and the way to tell figures."""

import os
import statistics
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from utils.cli.options import changed_flags

Settings = dict[str, Any]


class Unfit(Exception):
    """Raised by a row that this machine cannot have; its text is the reason for which the row is skipped."""


@dataclass
class Session:
    """The rows' surroundings. A row tells each figure at once: the process may be ended at any time."""

    device: str
    models: Path  # a folder for models, which the processes of a part share
    results: Path  # a folder for what rows leave behind
    tell: Callable[[dict[str, Any]], None]  # adds figures to the running row's
    kept: dict[Any, Any] = field(default_factory=dict)  # what later rows may use again

    def model_folder(self, name: str, write: Callable[[Path], None]) -> Path:
        """Return the folder of a model, which ``write`` writes if no row of the part has done it yet."""
        folder = self.models / name
        if not folder.exists():
            unfinished = self.models / f"{name}.{os.getpid()}"
            write(unfinished)
            unfinished.rename(folder)
        return folder


def kernels_switched(triton: bool) -> AbstractContextManager[None]:
    """Leave this project's Triton kernels out within the block, unless ``triton`` is true."""
    from bart.modeling.kernels.available import without_kernels

    return nullcontext() if triton else without_kernels()


def command_of(module: str, arguments: Any) -> str:
    """Return the command that does the same work: the flags whose values are not the default ones."""
    return " ".join(["python -m", module, *changed_flags(arguments)])


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return the median and all values of the rounds so far."""
    return {"median": statistics.median(values), "rounds": list(values)}
