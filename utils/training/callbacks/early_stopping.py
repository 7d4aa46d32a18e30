"""Ends a training: early stopping, and the validation after the last step."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from ..module import SummarizationModule
from .steps import ends_step


def is_better(metric: str, value: float, best: float) -> bool:
    """Return whether ``value`` is strictly better than ``best``: a lower loss, or a higher ROUGE."""
    return value < best if metric == "loss" else value > best


class EarlyStopping(Callback):
    """Callback that stops after ``patience`` validations in a row without improvement."""

    state_key = "EarlyStopping"  # in checkpoints; it stays if the class is renamed, so that old ones are resumed

    def __init__(self, metric: str, patience: int, min_steps: int) -> None:
        """Watch a validation metric; validations before ``min_steps`` optimizer steps are not counted."""
        self.metric = metric
        self.patience = patience
        self.min_steps = min_steps
        self.best: float | None = None
        self.without_improvement = 0

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Stop at once if the resumed run had stopped already."""
        trainer.should_stop = self.without_improvement >= self.patience

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Compare the validation with the best one, and stop if the patience is used up."""
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
        """Return the best value, and the number of validations since then."""
        return {"best": self.best, "without_improvement": self.without_improvement}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the counts of the resumed run."""
        self.best = state["best"]
        self.without_improvement = state["without_improvement"]


class ValidateAtEnd(Callback):
    """Callback that requests a validation after the last step, too."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Set ``should_stop`` after the last step: Lightning then validates before it stops."""
        if ends_step(trainer, batch_index) and trainer.global_step == trainer.max_steps:
            trainer.should_stop = True
