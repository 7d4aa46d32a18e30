"""Agreement of all processes of a training, as on a signal that ends it, which may have come to one of them alone."""

import time

import pytorch_lightning as pl
import torch

from ..runtime.signals import Interrupted, noted_signal

SECONDS_BETWEEN = 10.0  # two agreements
_MOST_STEPS_BETWEEN = 10


def agreed_signal(trainer: pl.Trainer) -> int:
    """Return the number of a signal that a process has noted, 0 for none. All processes call this together."""
    if trainer.world_size == 1:
        return noted_signal()
    noted = torch.tensor(noted_signal(), device=trainer.strategy.root_device)
    return int(trainer.strategy.reduce(noted, reduce_op="max").item())


def leave_if_told(trainer: pl.Trainer) -> None:
    """Raise Interrupted in all processes if one of them has noted a signal. All call this together."""
    number = agreed_signal(trainer)
    if number:
        raise Interrupted(number, all_agree=True)


class StepAgreements:
    """Lets all processes agree after every step that takes seconds, and after every tenth short one.

    To agree, processes wait for each other and for their GPUs. At each agreement they also agree on how long a step
    takes, which decides the step of the next one.
    """

    def __init__(self) -> None:
        self._next_step = 0
        self._last_step, self._last_time = 0, 0.0

    def start(self, step: int) -> None:
        """Start the clock after ``step``. An agreement follows the first step after it."""
        self._last_step, self._last_time = step, time.monotonic()

    def is_due(self, trainer: pl.Trainer) -> bool:
        """Return whether an agreement follows this step; the same in all processes."""
        return trainer.world_size == 1 or trainer.global_step >= self._next_step

    def largest(self, trainer: pl.Trainer, values: list[float]) -> list[float]:
        """Return the largest of each value over all processes, which call this together after a step."""
        if trainer.world_size == 1:
            return values
        step, now = trainer.global_step, time.monotonic()
        seconds = (now - self._last_time) / max(1, step - self._last_step)
        ours = torch.tensor([seconds, *values], dtype=torch.float64, device=trainer.strategy.root_device)
        seconds, *agreed = trainer.strategy.reduce(ours, reduce_op="max").tolist()
        self._last_step, self._last_time, self._next_step = step, now, step + steps_between(seconds)
        return agreed


def steps_between(seconds: float) -> int:
    """Return the number of steps from an agreement to the next one, if a step takes so many ``seconds``."""
    return max(1, int(min(_MOST_STEPS_BETWEEN, SECONDS_BETWEEN / seconds)))
