"""Saves checkpoints, and deletes those that are not kept."""

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
_SECONDS_OF_REPEATS = 2.0  # signals within this time count as one: a terminal, a launcher and SLURM may all send it
_STEPS_BETWEEN_AGREEMENTS = 10  # at these steps all processes agree whether to save by the clock, or to end


class CheckpointSaver(Checkpoint):
    """Callback that saves regularly, after a validation that is among the best, and at the end.

    It keeps the newest two checkpoints and the best.

    At SIGINT, SIGTERM or SIGUSR1 it saves and ends the training, all processes at the same step. If the signal is sent
    again seconds later, it ends at once.

    A checkpoint is saved only at the end of an optimizer step, and after the validation if one follows the step: a
    checkpoint holds neither the gradients of a step that has begun, nor the fact that a validation is due. Lightning
    calls a ``Checkpoint`` after all other callbacks, so their states are those after the validation too.
    """

    state_key = "CheckpointSaver"  # in checkpoints

    def __init__(self, folder: Path, every_n_steps: int, top_k: int, metric: str, steps_per_epoch: int) -> None:
        """Save to ``folder`` every ``every_n_steps`` steps; keep the ``top_k`` best by the validation's ``metric``."""
        self.folder = folder
        self.every_n_steps = every_n_steps
        self.top_k = top_k
        self.metric = metric
        self.steps_per_epoch = steps_per_epoch
        self.best: list[tuple[float, str]] = []  # (value, file name), best first
        self.last_saved_step = 0  # by this process
        self._last_save = time.monotonic()
        self._pending_signal = 0  # number of the signal that this process has received; 0 for none
        self._signal_time = 0.0

    def best_checkpoint(self) -> Path:
        """Return the best intact checkpoint, or the newest intact one if the best are damaged. Warns of damaged ones.

        Raises InputError if no checkpoint is intact.
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
        """Replace Lightning's handling of signals.

        Its handler communicates with the other processes while they wait for something else, so that all hang. Before
        each micro-batch, all processes wait for the first one's message whether SIGTERM has come. At Ctrl-C it ends
        without a checkpoint.
        """
        on_signal(self._note_signal)
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Save at the end of a step, if it is time and no validation follows; end if a signal has come."""
        validation_follows = trainer.should_stop or (batch_index + 1) % trainer.val_check_batch == 0
        if not ends_step(trainer, batch_index) or validation_follows:
            return
        ends = self._must_end(trainer, module)
        if ends or self._is_due(trainer):
            self._save(trainer)
        if ends:
            raise Interrupted(ends)

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Save if the validation is among the best, if it is time, or at the end; end if a signal has come."""
        if trainer.sanity_checking:
            return
        is_among_best = self._is_among_best(module.validation_metrics[self.metric])
        if is_among_best:
            entry = (module.validation_metrics[self.metric], self._name(trainer))
            self.best = sorted([*self.best, entry], reverse=self.metric != "loss", key=lambda best: best[0])
            self.best = self.best[: self.top_k]
        ends = self._must_end(trainer, module)
        if is_among_best or ends or trainer.should_stop or self._is_due(trainer):
            self._save(trainer)
        if ends:
            raise Interrupted(ends)

    def on_train_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Let signals end the program at once from now on: nothing more is saved."""
        raise_on_signal()

    def state_dict(self) -> dict[str, Any]:
        """Return the values and file names of the best checkpoints."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the best checkpoints of the resumed run."""
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
        """Return the number of the signal at which all processes end now; 0 to go on."""
        if trainer.world_size == 1:
            return self._pending_signal
        if trainer.global_step % _STEPS_BETWEEN_AGREEMENTS != 0:
            return 0
        pending = torch.tensor(self._pending_signal, device=module.device)
        return int(trainer.strategy.reduce(pending, reduce_op="max").item())

    def _note_signal(self, number: int) -> None:
        """Remember the first signal; end at once if it is sent again later, for example in a long validation."""
        if self._pending_signal == 0:
            line = f"{Interrupted(number)}: a checkpoint is saved at the next step's end; send it again to end now\n"
            os.write(2, line.encode())  # not print, which fails if the signal has interrupted another print
            self._pending_signal, self._signal_time = number, time.monotonic()
        elif time.monotonic() - self._signal_time > _SECONDS_OF_REPEATS:
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
        """Delete all checkpoints but the newest and the best.

        Checkpoints of later steps are deleted too: they were damaged, so that this run was resumed from an earlier one.
        """
        found = checkpoints(self.folder)
        reached = [path for path in found if checkpoint_step(path) <= step]
        kept = {path.name for path in reached[-NEWEST_KEPT:]} | {name for _, name in self.best}
        for path in found:
            if path.name not in kept:
                path.unlink()
