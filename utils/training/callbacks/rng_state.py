"""Saves the states of the random number generators in checkpoints, and restores them."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from ...runtime.collectives import gather_from_all, own_of_gathered
from ..module import SummarizationModule


class RngState(Callback):
    """Callback that saves and restores the random number generators, so that dropout continues after a resume.

    A validation may draw numbers too. If it is interrupted, it begins again after a resume: so until it ends, the
    states are those of its beginning.
    """

    state_key = "RandomStates"  # in checkpoints

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None  # of this process
        self._before_validation: dict[str, Any] | None = None  # of this process, during a validation

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: SummarizationModule, batch: Any, batch_index: int
    ) -> None:
        """Restore the loaded states before the first batch; starting the trainer and its loaders draws numbers too."""
        self._restore()

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Restore the loaded states if a resumed run begins with a validation, and remember the states."""
        if not trainer.sanity_checking:
            self._restore()
            self._before_validation = self._own_states()

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Forget the states of the validation's beginning."""
        self._before_validation = None

    def _restore(self) -> None:
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
        """Gather the states of all processes, which call this together when a checkpoint is saved."""
        return {"of_processes": gather_from_all(self._before_validation or self._own_states())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take this process's states; early versions saved those of the first process alone."""
        self._loaded = own_of_gathered(state.get("of_processes", [state]))

    def _own_states(self) -> dict[str, Any]:
        name, keys, *position = np.random.get_state()
        return {
            "python": random.getstate(),
            "numpy": (name, keys.tolist(), *position),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,  # of this process's GPU
        }
