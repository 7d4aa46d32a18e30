"""Stops a training whose loss or gradient is NaN or infinite, before a checkpoint of it is saved."""

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

_Fault = tuple[int, str]  # the number of the micro-batch, and the error message


class StopOnNonFinite(Callback):
    """Callback that checks the loss of every micro-batch and the gradient of every step.

    If one is not finite, the training stops with an error that names the lines of the first bad batch.

    Reading a value waits for the device. Therefore the values of several steps are checked together, and always before
    a checkpoint is saved, so that the newest checkpoint is from before the fault. All processes stop together, even if
    only one of them has the bad batch.
    """

    def __init__(self, examples: Examples, every_n_steps: int, scales_loss: bool) -> None:
        """Check every ``every_n_steps`` optimizer steps.

        Args:
            examples: the training examples, to name the lines of a batch.
            scales_loss: do not check gradients: they may overflow, and the loss scaler skips such steps.
        """
        self.examples = examples
        self.every_n_steps = every_n_steps
        self.scales_loss = scales_loss
        self._losses: list[tuple[int, torch.Tensor, torch.Tensor]] = []  # micro-batch, indices of its examples, loss
        self._norms: list[tuple[int, torch.Tensor]] = []  # last micro-batch of a step, the norm of its gradient

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Batch, batch_index: int
    ) -> None:
        """Keep the loss and, at the end of a step, the norm of the gradient; check them if it is time."""
        loss = outputs["loss_sum"]
        if "divergence_sum" in outputs:  # of R-Drop: it may be NaN although the cross entropy is finite
            loss = loss + outputs["divergence_sum"]
        self._losses.append((batch_index, batch.indices, loss))
        if not ends_step(trainer, batch_index):
            return
        if not self.scales_loss:
            self._norms.append((batch_index, module.gradient_norm))
        if trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self.check(trainer, module)

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Check before a validation, which takes long and records its result."""
        self.check(trainer, module)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: SummarizationModule, checkpoint: dict[str, Any]) -> None:
        """Check before a checkpoint is saved."""
        self.check(trainer, module)

    def check(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Raise InputError, in all processes, if a value since the last check is not finite."""
        losses = [loss for _, _, loss in self._losses] + [norm for _, norm in self._norms]
        if not losses:
            return
        bad = (~torch.stack([loss.to(module.device, torch.float32) for loss in losses]).isfinite()).sum()
        if trainer.strategy.reduce(bad.float(), reduce_op="sum").item() > 0:
            faults = [fault for fault in gather_from_all(self._first_fault(trainer)) if fault is not None]
            raise InputError(min(faults)[1])
        self._losses, self._norms = [], []

    def _first_fault(self, trainer: pl.Trainer) -> _Fault | None:
        """Return this process's first value that is not finite, None if there is none."""
        accumulation = trainer.accumulate_grad_batches
        for batch, indices, loss in self._losses:
            if not math.isfinite(loss.item()):
                return batch, _message(f"the loss is {loss.item()}", batch // accumulation, [indices], self.examples)
        for batch, norm in self._norms:
            if not math.isfinite(norm.item()):
                step = batch // accumulation
                of_step = [indices for other, indices, _ in self._losses if other // accumulation == step]
                message = _message(f"the gradient's norm is {norm.item()}", step, of_step, self.examples)
                return batch + 1, message  # + 1: a loss of the same step, in another process, says more
        return None


def _message(fault: str, step: int, batches: list[torch.Tensor], examples: Examples) -> str:
    indices = [index for batch in batches for index in batch.tolist()]
    return (
        f"{fault} in step {step + 1}, on {places(examples, indices)}; the last checkpoint is kept: check these lines,"
        " lower --learning_rate, or give another precision"
    )
