"""Records the numbers of a training by step, in metrics.json and for the loggers."""

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.optim import Optimizer

from bart.errors import InputError

from ...data.batch import Batch
from ...io.atomic_files import failure_of_writing
from ...io.json_files import write_json
from ...runtime.collectives import gather_from_all, own_of_gathered
from ..module import SummarizationModule
from ..precision_plugin import matrix_dtype
from ..throughput import ThroughputMeter
from .steps import ends_step


class TrainingHistory(Callback):
    """Callback that records the loss per target token, as a mean since the last record, and every validation.

    The history is saved in checkpoints, so that a resumed run ends with the history of an uninterrupted one. Figures
    that depend on the clock are kept apart: ``speed`` has them for each record, ``throughput`` for all steps that this
    process has taken.
    """

    state_key = "TrainingHistory"  # in checkpoints

    def __init__(self, path: Path, every_n_steps: int, steps_per_epoch: int, with_divergence: bool = False) -> None:
        """Record every ``every_n_steps`` optimizer steps, and write to ``path``, which is that of metrics.json.

        Args:
            with_divergence: record the divergence of R-Drop beside the loss, which is the cross entropy.
        """
        self.path = path
        self.every_n_steps = every_n_steps
        self.steps_per_epoch = steps_per_epoch
        self.train: list[dict[str, float | None]] = []
        self.validation: list[dict[str, float]] = []
        self.speed: list[dict[str, float]] = []
        self.throughput: dict[str, float] = {}
        # Loss, target tokens and, with R-Drop, divergence since the last record.
        self._sums = torch.zeros(3 if with_divergence else 2, dtype=torch.float64)
        self._meter: ThroughputMeter  # set when the training starts
        self._learning_rate = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Start to measure the speed."""
        self._sums = self._sums.to(module.device)
        dtype = matrix_dtype(trainer.precision_plugin) or torch.float32
        waited = trainer.train_dataloader.seconds_waited
        self._meter = ThroughputMeter(module.model.config, module.device, dtype, waited)

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: SummarizationModule, optimizer: Optimizer) -> None:
        """Note the learning rate of the step, before the schedule changes it."""
        self._learning_rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Batch, batch_index: int
    ) -> None:
        """Add up the loss of the micro-batch, and record the step if it is due."""
        sums = [outputs["loss_sum"], self._meter.count(batch)]
        self._sums += torch.stack([*sums, *([outputs["divergence_sum"]] if len(self._sums) > 2 else [])])
        step = trainer.global_step
        if ends_step(trainer, batch_index) and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            self._record(trainer, module)

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Stop the clock: a validation does not count in the speed of training."""
        if not trainer.sanity_checking:
            self._meter.pause()

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Record the validation, and write metrics.json. Raises InputError if its loss is not finite."""
        if trainer.sanity_checking:
            return
        self._meter.resume()
        loss = module.validation_metrics["loss"]
        if not math.isfinite(loss):
            raise InputError(
                f"the validation loss is {loss} after step {trainer.global_step}, although the training loss was"
                " finite; the last checkpoint is kept: check the validation texts, or give another precision"
            )
        self.validation.append({**self._position(trainer), **module.validation_metrics})
        self._log(trainer, {f"val_{name}": value for name, value in module.validation_metrics.items()})
        self.write(trainer)

    def write(self, trainer: pl.Trainer) -> None:
        """Write the history so far to metrics.json."""
        if trainer.is_global_zero:
            histories = {"train": self.train, "validation": self.validation, "speed": self.speed}
            write_json(self.path, {**histories, "throughput": self.throughput})

    def _record(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Record loss, learning rate, gradient norm and speed since the last record, over all processes."""
        # The sums of all processes.
        waited = trainer.train_dataloader.seconds_waited
        totals = torch.cat([self._sums, self._meter.totals(waited)])
        sums = trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        (loss, target_tokens, *divergence), counts = sums[: len(self._sums)], sums[len(self._sums) :]

        # The record.
        position = self._position(trainer)
        norm = module.gradient_norm.item()
        record = {
            "loss": loss / target_tokens,
            **({"r_drop_divergence": divergence[0] / target_tokens} if divergence else {}),
            "learning_rate": self._learning_rate,
            "gradient_norm": norm if math.isfinite(norm) else None,  # with fp16 it overflows if the loss scale is high
        }

        # Its place in the history, and in the loggers.
        speed, self.throughput = self._meter.read(counts, trainer.world_size)
        self.train.append({**position, **record})
        self.speed.append({**position, **speed})
        self._log(trainer, {**record, **speed})
        self._sums = torch.zeros_like(self._sums)

    def _position(self, trainer: pl.Trainer) -> dict[str, float]:
        return {"step": trainer.global_step, "epoch": round(trainer.global_step / self.steps_per_epoch, 4)}

    def _log(self, trainer: pl.Trainer, metrics: dict[str, float | None]) -> None:
        numbers = {name: value for name, value in metrics.items() if value is not None}
        for logger in trainer.loggers:
            with failure_of_writing(self.path.with_name("logs")):
                logger.log_metrics(numbers, step=trainer.global_step)
                logger.save()

    def state_dict(self) -> dict[str, Any]:
        """Return the history, and each process's sums since the last record."""
        histories = {"train": self.train, "validation": self.validation, "speed": self.speed}
        return {**histories, "sums_of_processes": gather_from_all(self._sums.tolist())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the history of the resumed run."""
        self.train, self.validation, self.speed = state["train"], state["validation"], state["speed"]
        # Early versions saved the sums of the first process alone, as "sums".
        sums = own_of_gathered(state.get("sums_of_processes") or [state["sums"]])
        # A version with fewer sums knew the first of them.
        self._sums = torch.tensor([*sums, *[0.0] * (len(self._sums) - len(sums))], dtype=torch.float64)
