"""Times the steps of a training, for --dry_run."""

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from .steps import ends_step


class StepTimer(Callback):
    """Callback that measures the time of each optimizer step and each validation batch, with their loading."""

    def __init__(self) -> None:
        """Begin without any measurement."""
        self.step_seconds: list[float] = []
        self.validation_seconds: list[float] = []
        self._last = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock."""
        self._last = _now(module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Measure a step at its last micro-batch."""
        if ends_step(trainer, batch_index):
            self.step_seconds.append(self._passed(module))

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Start the clock again."""
        self._last = _now(module)

    def on_validation_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_: Any) -> None:
        """Measure a validation batch."""
        self.validation_seconds.append(self._passed(module))

    def _passed(self, module: pl.LightningModule) -> float:
        now = _now(module)
        passed, self._last = now - self._last, now
        return passed


def _now(module: pl.LightningModule) -> float:
    """Wait for the device to finish its work, and return the time in seconds."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()
