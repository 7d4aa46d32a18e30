"""The numbers of a training, step by step: into metrics.json, TensorBoard and CSV."""

import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.optim import Optimizer

from bart.errors import InputError
from bart.modeling.modeling_bart import IGNORED_LABEL
from utils.callbacks import ends_step
from utils.data import Batch
from utils.distributed import gather_from_all, own_of_gathered
from utils.files import failure_of_writing
from utils.lightning_module import SummarizationModule
from utils.report import write_json


class TrainingHistory(Callback):
    """Records the loss per target token (mean over the steps since the last record), and every validation.

    All of it is in checkpoints, so that a resumed run ends with the history of one that was never interrupted. What the
    clock says is kept apart, in ``speed``.
    """

    def __init__(self, path: Path, every_n_steps: int, steps_per_epoch: int) -> None:
        """``path`` is that of metrics.json."""
        self.path = path
        self.every_n_steps = every_n_steps
        self.steps_per_epoch = steps_per_epoch
        self.train: list[dict[str, float | None]] = []
        self.validation: list[dict[str, float]] = []
        self.speed: list[dict[str, float]] = []
        self._sums = torch.zeros(2, dtype=torch.float64)  # loss, target tokens
        self._tokens = torch.zeros((), dtype=torch.float64)  # source and target tokens in the window of the clock
        self._learning_rate = 0.0
        self._window_start = 0.0  # by the clock, moved on by the time that validations take
        self._validation_start = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        self._sums, self._tokens = self._sums.to(module.device), self._tokens.to(module.device)
        self._window_start = time.perf_counter()

    def on_before_optimizer_step(self, trainer: pl.Trainer, module: SummarizationModule, optimizer: Optimizer) -> None:
        self._learning_rate = optimizer.param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Batch, batch_index: int
    ) -> None:
        target_tokens = (batch.labels != IGNORED_LABEL).sum()
        self._sums += torch.stack([outputs["summed_loss"], target_tokens])
        self._tokens += target_tokens + batch.attention_mask.sum()
        step = trainer.global_step
        if ends_step(trainer, batch_index) and (step % self.every_n_steps == 0 or step == trainer.max_steps):
            self._record(trainer, module)

    def on_validation_start(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        self._validation_start = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        if trainer.sanity_checking:
            return
        loss = module.validation_metrics["loss"]
        if not math.isfinite(loss):
            raise InputError(
                f"the validation loss is {loss} after step {trainer.global_step}, and that of the training was finite;"
                " the checkpoint before is kept: look at the validation texts, or give another precision"
            )
        self.validation.append({**self._position(trainer), **module.validation_metrics})
        self._log(trainer, {f"val_{name}": value for name, value in module.validation_metrics.items()})
        self.write(trainer)
        self._window_start += time.perf_counter() - self._validation_start

    def write(self, trainer: pl.Trainer) -> None:
        """Write metrics.json as of now."""
        if trainer.is_global_zero:
            write_json(self.path, {"train": self.train, "validation": self.validation, "speed": self.speed})

    def _record(self, trainer: pl.Trainer, module: SummarizationModule) -> None:
        totals = torch.cat([self._sums, self._tokens[None]])
        loss, target_tokens, tokens = trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        now = time.perf_counter()
        position = self._position(trainer)
        norm = module.gradient_norm.item()
        record = {
            "loss": loss / target_tokens,
            "learning_rate": self._learning_rate,
            "gradient_norm": norm if math.isfinite(norm) else None,  # not while fp16 looks for its loss scale
        }
        speed = {"tokens_per_second": tokens / (now - self._window_start)}
        self.train.append({**position, **record})
        self.speed.append({**position, **speed})
        self._log(trainer, {**record, **speed})
        self._sums, self._tokens = torch.zeros_like(self._sums), torch.zeros_like(self._tokens)
        self._window_start = now

    def _position(self, trainer: pl.Trainer) -> dict[str, float]:
        return {"step": trainer.global_step, "epoch": round(trainer.global_step / self.steps_per_epoch, 4)}

    def _log(self, trainer: pl.Trainer, metrics: dict[str, float | None]) -> None:
        numbers = {name: value for name, value in metrics.items() if value is not None}
        for logger in trainer.loggers:
            with failure_of_writing(self.path.with_name("logs")):
                logger.log_metrics(numbers, step=trainer.global_step)
                logger.save()

    def state_dict(self) -> dict[str, Any]:
        histories = {"train": self.train, "validation": self.validation, "speed": self.speed}
        return {**histories, "sums_of_processes": gather_from_all(self._sums.tolist())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.train, self.validation, self.speed = state["train"], state["validation"], state["speed"]
        sums = own_of_gathered(state.get("sums_of_processes") or [state["sums"]])  # before, the first process's alone
        self._sums = torch.tensor(sums, dtype=torch.float64)
