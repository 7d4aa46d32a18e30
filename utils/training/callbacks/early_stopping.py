"""What happens around the training steps: early stopping, the last validation and the state of random numbers.

Lightning sees a run as one long epoch, so that ``batch_index`` counts all micro-batches and every resume is mid-epoch;
epochs of data are counted by the loader.
"""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from ...runtime.world import gather_from_all, own_of_gathered
from ..module import SummarizationModule


def ends_step(trainer: pl.Trainer, batch_index: int) -> bool:
    """Whether the optimizer takes its step after this micro-batch: every step has the same number of them."""
    return (batch_index + 1) % trainer.accumulate_grad_batches == 0


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


class RngState(Callback):
    """Keeps the states of the random number generators in checkpoints, so that dropout goes on as it would have."""

    state_key = "RandomStates"  # in checkpoints

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None  # of this process

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: SummarizationModule, batch: Any, batch_index: int
    ) -> None:
        """Set the loaded states as late as this: starting the trainer and its loaders draws random numbers."""
        if self._loaded is None:
            return
        name, keys, *position = self._loaded["numpy"]
        np.random.set_state((name, np.array(keys, dtype=np.uint32), *position))
        random.setstate(self._loaded["python"])
        torch.set_rng_state(self._loaded["torch"])
        if self._loaded["cuda"] is not None and torch.cuda.is_initialized():
            torch.cuda.set_rng_state(self._loaded["cuda"])
        self._loaded = None

    def state_dict(self) -> dict[str, Any]:
        """The states of every process; all of them ask together when a checkpoint is saved."""
        return {"of_processes": gather_from_all(self._own_states())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._loaded = own_of_gathered(state.get("of_processes", [state]))  # before, those of the first process alone

    def _own_states(self) -> dict[str, Any]:
        name, keys, *position = np.random.get_state()
        return {
            "python": random.getstate(),
            "numpy": (name, keys.tolist(), *position),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,  # of this process's GPU
        }
