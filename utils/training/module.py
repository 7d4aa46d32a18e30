"""The Lightning module: a model, its loss per target token and its validation."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..cli.shared_args import output_limit
from ..cli.training_args import OptimizationSettings, ValidationSettings
from ..data.batch import Batch
from ..data.tokens.encode import decode
from ..evaluation.rouge import ROUGE_TYPES, rouge_scores
from ..runtime.apex_package import fused_optimizers
from .optimization import build_optimizer, build_schedule, clip_gradients
from .strategies.sharding import shard, whole


class SummarizationModule(pl.LightningModule):
    """Fine-tuning of one model. Checkpoints hold its weights as ``model.<Hugging Face's name>``."""

    def __init__(
        self,
        model: BartForConditionalGeneration,
        optimization: OptimizationSettings,
        validation: ValidationSettings,
        total_steps: int,
        tokenizer: PreTrainedTokenizerBase,
        references: list[str],
        flags: dict[str, Any],
    ) -> None:
        """Take the model and all that its steps need.

        Args:
            total_steps: the length of the schedule, in optimizer steps.
            references: the target texts of the validation split, by example index.
            flags: every setting by name; recorded in checkpoints.
        """
        super().__init__()
        self.model = model
        self.optimization = optimization
        self.validation = validation
        self.flags = flags
        self.total_steps = total_steps
        self.tokenizer = tokenizer
        self.references = references
        self.gradient_norm = torch.tensor(0.0)  # of the last optimizer step, before clipping
        self.validation_metrics: dict[str, float] = {}  # of the last validation, over all processes
        self._validation_loss = torch.zeros(2)  # summed cross entropy and target tokens, of the running validation
        self._predictions: dict[int, str] = {}  # by example index, of the running validation
        self._optimizer_before: str | None = None  # its class, in the run that is resumed

    def configure_model(self) -> None:
        """Shard the model if the strategy asks for it."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Compute the loss of a micro-batch, scaled to give the gradient of the mean over the step's target tokens.

        Lightning divides by the micro-batches of a step and DDP by the processes. Both are undone here: they would
        weigh every micro-batch the same, however many tokens it has.
        """
        loss_sum = self.model.loss_sum(
            batch.input_ids, batch.mask(), batch.labels, self.optimization.label_smoothing, batch.target_indices
        )
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return {"loss": loss_sum * (parts / batch.step_target_tokens), "loss_sum": loss_sum.detach()}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Free the gradients after a step: Lightning would keep them through the next forward pass."""
        if (batch_index + 1) % self.trainer.accumulate_grad_batches == 0:
            self.optimizers(use_pl_optimizer=False).zero_grad()

    def on_validation_epoch_start(self) -> None:
        """Clear the sums and the predictions of the last validation."""
        self._validation_loss = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._predictions = {}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add up the cross entropy (without smoothing) and collect the model's summaries."""
        loss, predictions = self.model.score_targets(batch.input_ids, batch.mask(), batch.labels, batch.target_indices)
        if len(predictions) == 0:  # a dummy batch
            return
        self._validation_loss[0] += loss
        self._validation_loss[1] += len(predictions)
        if self.validation.eval_beams > 0:
            sequences = self.model.generate(
                batch.input_ids,
                batch.attention_mask,
                **validation_search(self.validation),
            )
        else:
            sequences = torch.full_like(batch.labels, self.model.config.pad_token_id)
            sequences.view(-1)[batch.target_indices] = predictions
        self._predictions.update(zip(batch.indices.tolist(), decode(sequences, self.tokenizer), strict=True))

    def on_validation_epoch_end(self) -> None:
        """Compute the loss per target token and the mean ROUGE, over the examples of all processes."""
        rouge = dict.fromkeys(ROUGE_TYPES, 0.0)
        if self._predictions:
            references = [self.references[row] for row in self._predictions]
            splitter = self.validation.rouge_sentence_splitter
            rouge = rouge_scores(list(self._predictions.values()), references, splitter)
        examples = len(self._predictions)
        sums = torch.tensor([examples, *(rouge[name] * examples for name in ROUGE_TYPES)], dtype=torch.float64)
        totals = torch.cat([self._validation_loss, sums.to(self.device)])
        loss, tokens, examples, *rouge_sums = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        means = {name: rouge_sum / examples for name, rouge_sum in zip(ROUGE_TYPES, rouge_sums, strict=True)}
        self.validation_metrics = {"loss": loss / tokens, **means}

    def configure_optimizers(self) -> Any:
        """Return an optimizer and a schedule by optimizer step, in Lightning's form."""
        settings = self.optimization
        takes_apex = self.device.type == "cuda" and self.device_mesh is None  # apex's know no sharded weights
        optimizer = build_optimizer(
            self.model,
            settings.optimizer,
            settings.learning_rate,
            settings.weight_decay,
            beta2=settings.adam_beta2,
            apex=fused_optimizers() if takes_apex else None,
        )
        self._check_optimizer_of_resumed_run(optimizer)
        schedule = build_schedule(optimizer, settings.lr_scheduler, settings.warmup_steps, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Optimizer, **_: Any) -> None:
        """Clip the gradients that the optimizer reads; with apex's O2 they are not those of the model's own weights.

        Uses torch's function: Lightning's refuses fused optimizers under mixed precision.
        """
        parameters = self.trainer.precision_plugin.main_params(optimizer)
        self.gradient_norm = whole(clip_gradients(parameters, self.optimization.gradient_clip_val))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record configuration, flags and optimizer as plain types, which are read without unpickling code."""
        checkpoint["hyper_parameters"] = {
            "config": self.model.config.to_dict(),
            "arguments": self.flags,
            "optimizer": _class_name(self.optimizers().optimizer),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a run that is resumed with more steps than it had go on after what was its last batch."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
        self._optimizer_before = checkpoint["hyper_parameters"].get("optimizer")

    def _check_optimizer_of_resumed_run(self, optimizer: Optimizer) -> None:
        """Raise InputError if the checkpoint has the state of another class: apex was installed since, or removed."""
        name = _class_name(optimizer)
        if self._optimizer_before not in (None, name):
            raise InputError(
                f"--resume: the run's optimizer was {self._optimizer_before} and is now {name}; resume it where apex is"
                " installed as it was"
            )


def validation_search(validation: ValidationSettings) -> dict[str, Any]:
    """Return the settings of a validation's search beyond the configuration: one sequence for each source."""
    return {
        "num_beams": validation.eval_beams,
        **output_limit(validation.eval_max_gen_length),
        "num_return_sequences": 1,
        "return_dict_in_generate": False,
    }


def _class_name(optimizer: Optimizer) -> str:
    """The optimizer's name in checkpoints; the project's own have one that stays when their module moves."""
    kind = type(optimizer)
    return getattr(kind, "NAME_IN_CHECKPOINTS", f"{kind.__module__}.{kind.__qualname__}")
