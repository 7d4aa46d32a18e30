"""Shows the progress of a training."""

import sys
import time
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ...runtime.progress import ProgressBar
from ..module import SummarizationModule
from .metrics_history import TrainingHistory
from .steps import ends_step


class Progress(Callback):
    """Callback that shows a progress bar on a terminal, else (in a log file) one line for each record."""

    def __init__(self, history: TrainingHistory) -> None:
        """Show the records of ``history``, which must come before this one among the trainer's callbacks."""
        self.history = history
        self._bar: ProgressBar | None = None
        self._validation_bar: ProgressBar | None = None
        self._start = (0, 0.0)  # step and time at which this process began

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Start the clock, and the bar."""
        self._start = (trainer.global_step, time.monotonic())
        if trainer.is_global_zero and sys.stderr.isatty():
            self._bar = ProgressBar(
                total=trainer.max_steps, initial=trainer.global_step, desc="training", unit="step", dynamic_ncols=True
            )

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Advance the bar after a step, and show a new record."""
        if not trainer.is_global_zero or not ends_step(trainer, batch_index):
            return
        records = self.history.train
        is_new = bool(records) and records[-1]["step"] == trainer.global_step
        if self._bar is not None:
            self._bar.update()
            if is_new:
                self._bar.set_postfix_str(self._describe_record())
        elif is_new:
            remaining = self._seconds_per_step(trainer) * (trainer.max_steps - trainer.global_step)
            print(
                f"step {trainer.global_step}/{trainer.max_steps}  {self._describe_record()}"
                f"  remaining {timedelta(seconds=round(remaining))}",
                flush=True,
            )

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Start the bar of the validation."""
        if self._bar is not None:
            batches = trainer.num_val_batches[0]
            self._validation_bar = ProgressBar(
                total=batches, desc="validation", unit="batch", leave=False, dynamic_ncols=True
            )

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Advance the bar of the validation."""
        if self._validation_bar is not None:
            self._validation_bar.update()

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Print the result of the validation."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        if self._validation_bar is not None:
            self._validation_bar.close()
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in module.validation_metrics.items())
        beams = module.validation.eval_beams
        how = f"{beams} beams" if beams > 0 else "teacher-forced: higher than scores of generated summaries"
        ProgressBar.write(f"step {trainer.global_step}/{trainer.max_steps}  validation ({how}): {metrics}")
        sys.stdout.flush()

    def on_train_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _describe_record(self) -> str:
        record, speed = self.history.train[-1], self.history.speed[-1]
        mfu = speed["share_of_peak"]
        divergence = f"  divergence {record['r_drop_divergence']:.4f}" if "r_drop_divergence" in record else ""
        return (
            f"loss {record['loss']:.4f}{divergence}  lr {record['learning_rate']:.2e}"
            f"  {speed['tokens_per_second']:,.0f} tokens/s  {mfu:.0%} of peak  {speed['peak_memory_gb']:.1f} GB"
        )

    def _seconds_per_step(self, trainer: pl.Trainer) -> float:
        step, started = self._start
        return (time.monotonic() - started) / max(1, trainer.global_step - step)
