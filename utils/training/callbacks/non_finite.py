"""Ending a training whose loss is no number any more, before a checkpoint is made of it."""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from bart.errors import InputError

from ...data.batch import Batch
from ...data.examples import Examples, places
from ...runtime.collectives import gather_from_all
from ..module import SummarizationModule
from .steps import ends_step

_Fault = tuple[int, str]  # the number of the micro-batch, and what is said


class StopOnNonFinite(Callback):
    """Looks at the loss of every micro-batch and the gradient of every step, and names the lines of the first bad one.

    To look is to wait for the device. So it looks at those of several steps together, and always before a checkpoint is
    saved: the newest one is from before the fault. All processes end with it, whoever has the batch.
    """

    def __init__(self, examples: Examples, every_n_steps: int, scales_loss: bool) -> None:
        """``scales_loss``: gradients may overflow, as a loss scaler looks for its scale and leaves out such steps."""
        self.examples = examples
        self.every_n_steps = every_n_steps
        self.scales_loss = scales_loss
        self._losses: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # micro-batch, its rows, its summed loss
        self._norms: list[tuple[int, torch.Tensor]] = []  # last micro-batch of a step, the norm of its gradient

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Batch, batch_index: int
    ) -> None:
        self._losses.append((batch_index, batch.indices, outputs["loss_sum"]))
        if not ends_step(trainer, batch_index):
            return
        if not self.scales_loss:
            self._norms.append((batch_index, module.gradient_norm))
        if trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self.check(trainer, module)

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        self.check(trainer, module)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: SummarizationModule, checkpoint: dict[str, Any]) -> None:
        self.check(trainer, module)

    def check(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Raise InputError, in all processes, where anything was not finite since the last look."""
        losses = [loss for _, _, loss in self._losses] + [norm for _, norm in self._norms]
        if not losses:
            return
        bad = (~torch.stack([loss.to(module.device, torch.float32) for loss in losses]).isfinite()).sum()
        if trainer.strategy.reduce(bad.float(), reduce_op="sum").item() > 0:
            faults = [fault for fault in gather_from_all(self._first_fault(trainer)) if fault is not None]
            raise InputError(min(faults)[1])
        self._losses, self._norms = [], []

    def _first_fault(self, trainer: pl.Trainer) -> _Fault | None:
        accumulation = trainer.accumulate_grad_batches
        for index, rows, loss in self._losses:
            if not math.isfinite(loss.item()):
                return index, _said(f"the loss is {loss.item()}", index // accumulation, [rows], self.examples)
        for index, norm in self._norms:
            if not math.isfinite(norm.item()):
                of_step = [rows for at, rows, _ in self._losses if at // accumulation == index // accumulation]
                said = _said(f"the gradient's norm is {norm.item()}", index // accumulation, of_step, self.examples)
                return index + 1, said  # a loss of the same step says more
        return None


def _said(fault: str, step: int, batches: list[torch.Tensor], examples: Examples) -> str:
    rows = [row for batch in batches for row in batch.tolist()]
    return (
        f"{fault} in step {step + 1}, on {places(examples, rows)}; the checkpoint before is kept: look at these lines,"
        " lower --learning_rate, or give another precision"
    )
