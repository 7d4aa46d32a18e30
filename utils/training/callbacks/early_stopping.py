"""Decides when a training ends: early stopping, and the validation after the last step."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ..module import SummarizationModule
from .steps import ends_step


def is_better(metric: str, value: float, best: float) -> bool:
    """Whether ``value`` is strictly better than ``best``: a lower loss, a higher ROUGE."""
    return value < best if metric == "loss" else value > best


class EarlyStopping(Callback):
    """Stops after ``patience`` validations in a row without a better value."""

    state_key = "EarlyStopping"  # its name in checkpoints, whatever the class is called: old ones are resumed

    def __init__(self, metric: str, patience: int, min_steps: int) -> None:
        """Validations before ``min_steps`` optimizer steps are not counted."""
        self.metric = metric
        self.patience = patience
        self.min_steps = min_steps
        self.best: float | None = None
        self.without_improvement = 0

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """A run that had stopped when it was resumed stays stopped."""
        trainer.should_stop = self.without_improvement >= self.patience

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        if trainer.sanity_checking:
            return
        value = module.validation_metrics[self.metric]
        if self.best is None or is_better(self.metric, value, self.best):
            self.best = value
            self.without_improvement = 0
        elif trainer.global_step >= self.min_steps:
            self.without_improvement += 1
        if self.without_improvement >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "without_improvement": self.without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]
        self.without_improvement = state["without_improvement"]


class ValidateAtEnd(Callback):
    """Validates after the last step too: Lightning does so before it stops, when it is told to stop."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if ends_step(trainer, batch_index) and trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
