"""Saves checkpoints, and deletes those that are not kept."""

import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
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
from ...runtime.signals import Interrupted, noted_signal, on_signal, raise_on_signal
from ..agreement import StepAgreements, agreed_signal, leave_if_told
from ..module import SummarizationModule
from .early_stopping import is_better
from .steps import ends_step

_MOST_SECONDS_BETWEEN_SAVES = 30 * 60
_SECONDS_OF_REPEATS = 2.0  # signals within this time count as one: a terminal, a launcher and SLURM may all send it
_BATCHES_BETWEEN_AGREEMENTS = 10  # of a validation without searches


class CheckpointSaver(Checkpoint):
    """Callback that saves regularly, after a validation that is among the best, and at the end.

    It keeps the newest two checkpoints and the best. If checkpoints are to be averaged, it saves after every
    validation, and keeps the last of these too.

    At SIGINT, SIGTERM or SIGUSR1 it saves and ends the training, all processes at the same step (``StepAgreements``).
    If the signal is sent again seconds later, it ends at once.

    A checkpoint is saved only at the end of an optimizer step, and after the validation if one follows the step: a
    checkpoint does not hold the gradients of a step that has begun. Lightning calls a ``Checkpoint`` after all other
    callbacks, so their states are those after the validation too. Only a signal does not wait for a validation, which
    may take long: then the checkpoint is that of the step before it, and a resumed run begins with the validation.
    """

    state_key = "CheckpointSaver"  # in checkpoints

    def __init__(
        self, folder: Path, every_n_steps: int, top_k: int, metric: str, steps_per_epoch: int, average: int = 0
    ) -> None:
        """Save to ``folder`` every ``every_n_steps`` steps; keep the ``top_k`` best by the validation's ``metric``.

        Args:
            average: number of checkpoints to keep of those after validations.
        """
        self.folder = folder
        self.every_n_steps = every_n_steps
        self.top_k = top_k
        self.metric = metric
        self.steps_per_epoch = steps_per_epoch
        self.average = average
        self.validated: list[str] = []  # file names of the last ``average`` checkpoints after validations, oldest first
        self.best: list[tuple[float, str]] = []  # (value, file name), best first
        self.last_saved_step = 0  # by this process
        self._last_save = time.monotonic()
        self._agreements = StepAgreements()
        self._signal_time = 0.0  # of the first signal
        self._validation_is_due = False  # or runs
        self._is_told_again = False  # whether a signal has come again, so that nothing is saved
        self._last_step = 0  # of the run, if it is resumed for the validation after that step

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

    def last_validated(self) -> list[Path]:
        """Return the intact ones of the checkpoints to average, oldest first. Warns of damaged ones."""
        paths = [self.folder / name for name in self.validated]
        intact = [path for path in paths if is_intact(path)]
        for path in paths:
            if path not in intact:
                rank_zero_warn(f"{path}, to be averaged, is damaged or gone; it is left out")
        return intact

    def value_of(self, best: Path) -> float | None:
        """Return the metric of a checkpoint that is among the best, None if it is not."""
        return {name: value for value, name in self.best}.get(best.name)

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Replace Lightning's handling of signals, and run the validation in which a resumed run was interrupted.

        Lightning's handler communicates with the other processes while they wait for something else, so that all hang.
        Before each micro-batch, all processes wait for the first one's message whether SIGTERM has come. At Ctrl-C it
        ends without a checkpoint.
        """
        on_signal(self._note_signal)
        self._agreements.start(trainer.global_step)
        loop = trainer.fit_loop.epoch_loop
        loop._broadcast_sigterm_tensor = lambda: None
        if self._validation_is_due:
            loop.max_steps = self._last_step or loop.max_steps
            is_at_end = trainer.global_step == trainer.max_steps
            trainer.should_stop |= is_at_end  # as ValidateAtEnd sets it
            loop.batch_progress.is_last_batch = is_at_end
            trainer.validating = True
            loop.val_loop.run()
            trainer.training = True

    def on_load_checkpoint(self, trainer: pl.Trainer, module: SummarizationModule, checkpoint: dict[str, Any]) -> None:
        """Let Lightning start although the last step is taken, if the validation after it is due."""
        is_due = checkpoint["callbacks"][self.state_key].get("validation_is_due", False)
        if is_due and checkpoint["global_step"] == trainer.max_steps:
            self._last_step = trainer.max_steps
            trainer.fit_loop.epoch_loop.max_steps += 1  # until on_train_start

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Save at the end of a step, if it is time and no validation follows; end if a signal has come."""
        validation_follows = trainer.should_stop or (batch_index + 1) % trainer.val_check_batch == 0
        if not ends_step(trainer, batch_index) or validation_follows:
            return
        self._save_or_end(trainer)

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Remember that the last step lacks its validation."""
        self._validation_is_due |= not trainer.sanity_checking

    def on_validation_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int, *_: Any
    ) -> None:
        """Leave the validation if a signal has come; several processes agree on it.

        A search is left at once, by a process that has received the signal (``interruptible``). So with searches they
        agree after every batch: a process may agree on behalf of a batch that it has left. The module has them agree
        once more after the scores, which are left in the same way.
        """
        if trainer.sanity_checking:
            return
        searches = module.validation.eval_beams > 0
        if searches or trainer.world_size == 1 or batch_index % _BATCHES_BETWEEN_AGREEMENTS == 0:
            leave_if_told(trainer)

    def on_exception(self, trainer: pl.Trainer, module: SummarizationModule, exception: BaseException) -> None:
        """Save if a signal has ended a validation, unless it has been sent again."""
        if not isinstance(exception, Interrupted) or not self._validation_is_due or self._is_told_again:
            return
        if noted_signal() and not exception.all_agree:
            agreed_signal(trainer)
        if noted_signal() or exception.all_agree:
            self._save(trainer)

    def on_save_checkpoint(self, trainer: pl.Trainer, module: SummarizationModule, checkpoint: dict[str, Any]) -> None:
        """Take the batches of a validation that begins again out of Lightning's count."""
        if self._validation_is_due:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            before = progress["total"]["ready"] - progress["current"]["ready"]
            progress["total"] = dict.fromkeys(progress["total"], before)
            progress["current"] = dict.fromkeys(progress["current"], 0)

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Save if the validation is among the best, if it is time, at the end, or to average; end at a signal."""
        if trainer.sanity_checking:
            return
        self._validation_is_due = False
        is_among_best = self._is_among_best(module.validation_metrics[self.metric])
        if is_among_best:
            entry = (module.validation_metrics[self.metric], self._name(trainer))
            self.best = sorted([*self.best, entry], reverse=self.metric != "loss", key=lambda best: best[0])
            self.best = self.best[: self.top_k]
        if self.average > 0:
            self.validated = [*self.validated, self._name(trainer)][-self.average :]
        self._save_or_end(trainer, saves=is_among_best or self.average > 0 or trainer.should_stop)

    def on_train_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        """Let signals end the program at once from now on: nothing more is saved."""
        raise_on_signal()

    def state_dict(self) -> dict[str, Any]:
        """Return the values and names of the best, the names to average, whether the last step lacks its validation."""
        return {
            "best": self.best,
            **({"validated": self.validated} if self.average > 0 else {}),
            **({"validation_is_due": True} if self._validation_is_due else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the best checkpoints of the resumed run, and those to average, as many as there are now."""
        self.best = [(value, name) for value, name in state["best"]]
        self.validated = state.get("validated", [])[-self.average :] if self.average > 0 else []
        self._validation_is_due = state.get("validation_is_due", False)

    def _is_among_best(self, value: float) -> bool:
        return len(self.best) < self.top_k or is_better(self.metric, value, self.best[-1][0])

    def _save_or_end(self, trainer: pl.Trainer, saves: bool = False) -> None:
        """Save if ``saves``, or if it is time; at a signal save and raise Interrupted. The same in all processes."""
        saves |= trainer.global_step % self.every_n_steps == 0
        number = 0.0
        if self._agreements.is_due(trainer):
            since_save = time.monotonic() - self._last_save
            number, since_save = self._agreements.largest(trainer, [noted_signal(), since_save])
            saves |= number > 0 or since_save > _MOST_SECONDS_BETWEEN_SAVES
        if saves:
            self._save(trainer)
        if number > 0:
            raise Interrupted(int(number))

    def _note_signal(self, number: int) -> None:
        """Remember the first signal; end at once if it is sent again later, for example in a long step."""
        if noted_signal() == 0:
            when = "at the next step's end, in a validation at once"
            line = f"{Interrupted(number)}: a checkpoint is saved {when}; send it again to end now\n"
            os.write(2, line.encode())  # not print, which fails if the signal has interrupted another print
            self._signal_time = time.monotonic()
        elif time.monotonic() - self._signal_time > _SECONDS_OF_REPEATS:
            self._is_told_again = True
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
        """Delete all checkpoints but the newest, the best and those to average.

        Checkpoints of later steps are deleted too: they were damaged, so that this run was resumed from an earlier one.
        """
        found = checkpoints(self.folder)
        reached = [path for path in found if checkpoint_step(path) <= step]
        kept = {path.name for path in reached[-NEWEST_KEPT:]} | {name for _, name in self.best} | {*self.validated}
        for path in found:
            if path.name not in kept:
                path.unlink()
