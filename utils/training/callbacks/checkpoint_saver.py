"""When checkpoints are saved, and which are kept."""

import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from bart.errors import InputError

from ...checkpoint.checkpoint_io import (
    NEWEST_KEPT,
    checkpoint_name,
    checkpoint_step,
    checkpoints,
    is_intact,
    newest_checkpoint,
)
from ...runtime.signals import Interrupted, on_signal, raise_on_signal
from ..module import SummarizationModule
from .early_stopping import is_better
from .steps import ends_step

_MOST_SECONDS_BETWEEN_SAVES = 30 * 60
_SECONDS_OF_ONE_TELLING = 2.0  # to end: a terminal, a launcher and SLURM may all send a signal
_STEPS_BETWEEN_AGREEMENTS = 10  # of all processes, on what only one may know: that it is time to save, or to end


class CheckpointSaver(Checkpoint):
    """Saves regularly, after a validation that is among the best, and at the end; keeps the newest two and the best.

    At a signal to end (see utils/runtime/signals.py) it saves and ends the training, all processes at the same step. At
    another one, seconds later, it ends at once.

    Saves at the end of optimizer steps alone, and after the validation where there is one: gradients in the midst of a
    step, and a validation that is due, are not part of a checkpoint. (Lightning runs a ``Checkpoint`` after all other
    callbacks, so that their states are those after the validation, too.)
    """

    state_key = "CheckpointSaver"  # in checkpoints

    def __init__(self, folder: Path, every_n_steps: int, top_k: int, metric: str, steps_per_epoch: int) -> None:
        self.folder = folder
        self.every_n_steps = every_n_steps
        self.top_k = top_k
        self.metric = metric
        self.steps_per_epoch = steps_per_epoch
        self.best: list[tuple[float, str]] = []  # (value, file name), best first
        self.last_saved_step = 0  # by this process
        self._last_save = time.monotonic()
        self._told = 0  # the number of the signal that told this process to end
        self._told_at = 0.0

    def best_checkpoint(self) -> Path:
        """The checkpoint of the best validation that is whole, else the newest. Warns of those that are damaged.

        Raises InputError where none is whole.
        """
        for _, name in self.best:
            if is_intact(self.folder / name):
                return self.folder / name
            rank_zero_warn(f"{self.folder / name}, among the best, is damaged or gone; the next best one is used")
        newest = newest_checkpoint(self.folder)
        if newest is None:
            raise InputError(f"{self.folder}: its checkpoints are gone; start anew with --overwrite_output_dir")
        return newest

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Take the signals from Lightning.

        It sends to the other processes from within its signal handler, while they wait for something else, and all
        hang; and before each micro-batch it waits for the first process to say whether to go on. At Ctrl-C it would
        end without a checkpoint.
        """
        on_signal(self._note_signal)
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        validation_follows = trainer.should_stop or (batch_index + 1) % trainer.val_check_batch == 0
        if not ends_step(trainer, batch_index) or validation_follows:
            return
        ends = self._must_end(trainer, module)
        if ends or self._is_due(trainer):
            self._save(trainer)
        if ends:
            raise Interrupted(ends)

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        if trainer.sanity_checking:
            return
        ranked = self._is_among_best(module.validation_metrics[self.metric])
        if ranked:
            entry = (module.validation_metrics[self.metric], self._name(trainer))
            self.best = sorted([*self.best, entry], reverse=self.metric != "loss", key=lambda best: best[0])
            self.best = self.best[: self.top_k]
        ends = self._must_end(trainer, module)
        if ranked or ends or trainer.should_stop or self._is_due(trainer):
            self._save(trainer)
        if ends:
            raise Interrupted(ends)

    def on_train_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """What follows need not wait for a checkpoint."""
        raise_on_signal()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = [(value, name) for value, name in state["best"]]

    def _is_among_best(self, value: float) -> bool:
        return len(self.best) < self.top_k or is_better(self.metric, value, self.best[-1][0])

    def _is_due(self, trainer: pl.Trainer) -> bool:
        if trainer.global_step % self.every_n_steps == 0:
            return True
        if trainer.global_step % _STEPS_BETWEEN_AGREEMENTS != 0:
            return False
        return trainer.strategy.broadcast(time.monotonic() - self._last_save > _MOST_SECONDS_BETWEEN_SAVES)

    def _must_end(self, trainer: pl.Trainer, module: SummarizationModule) -> int:
        """The signal at which all processes end now; 0 for none."""
        if trainer.world_size == 1:
            return self._told
        if trainer.global_step % _STEPS_BETWEEN_AGREEMENTS != 0:
            return 0
        told = torch.tensor(self._told, device=module.device)
        return int(trainer.strategy.reduce(told, reduce_op="max").item())

    def _note_signal(self, number: int) -> None:
        if self._told == 0:  # written at once: a print that is interrupted cannot be begun again
            line = f"{Interrupted(number)}: a checkpoint is saved at the next step's end; again: end now\n"
            os.write(2, line.encode())
            self._told, self._told_at = number, time.monotonic()
        elif time.monotonic() - self._told_at > _SECONDS_OF_ONE_TELLING:  # the validation that runs may take long
            raise Interrupted(number)

    def _name(self, trainer: pl.Trainer) -> str:
        return checkpoint_name((trainer.global_step - 1) // self.steps_per_epoch, trainer.global_step)

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.folder / self._name(trainer))
        self.last_saved_step = trainer.global_step
        self._last_save = time.monotonic()
        if trainer.is_global_zero:
            self._prune(trainer.global_step)

    def _prune(self, step: int) -> None:
        """Delete all but the newest and the best. Those of later steps were damaged when this run was resumed."""
        found = checkpoints(self.folder)
        reached = [path for path in found if checkpoint_step(path) <= step]
        kept = {path.name for path in reached[-NEWEST_KEPT:]} | {name for _, name in self.best}
        for path in found:
            if path.name not in kept:
                path.unlink()
