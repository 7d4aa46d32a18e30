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
from ..runtime.signals import interruptible
from .agreement import leave_if_told
from .callbacks.steps import ends_step
from .optimization import build_optimizer, build_schedule, clip_gradients
from .precision_plugin import matrix_dtype
from .strategies.sharding import full_tensor, shard
from .validation_searcher import ValidationSearcher


class SummarizationModule(pl.LightningModule):
    """The Lightning module that fine-tunes a model.

    Checkpoints hold the weights under Hugging Face's names behind the prefix ``model.``.
    """

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
        """Take the model and the settings of its steps.

        Args:
            total_steps: length of the learning rate schedule, in optimizer steps.
            references: target texts of the validation split, by example index.
            flags: every flag of the run by name, to be recorded in checkpoints.
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
        self._validation_loss = torch.zeros(2)  # running validation: sum of the cross entropy, number of target tokens
        self._predictions: dict[int, str] = {}  # running validation: summaries by example index
        self._searcher: ValidationSearcher | None = None  # running validation with a beam search on a GPU
        self._resumed_optimizer: str | None = None  # class of the optimizer in the checkpoint that is resumed

    def configure_model(self) -> None:
        """Shard the model if the strategy asks for it."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """Compute the loss of a micro-batch: its share of the mean cross entropy per target token of the whole step.

        Lightning divides it by the number of micro-batches of a step, and DDP divides gradients by the number of
        processes. The loss is multiplied by both numbers to undo that: micro-batches must be weighted by their tokens,
        not equally.

        Returns:
            "loss": the scaled loss for the backward pass; "loss_sum": the sum of the cross entropy over the
            micro-batch's target tokens; with R-Drop "divergence_sum": likewise the sum of the divergence.
        """
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size / batch.step_target_tokens
        smoothing, alpha = self.optimization.label_smoothing, self.optimization.r_drop
        if alpha > 0:
            loss_sum, cross_entropy, divergence = self.model.r_drop_loss_sum(
                batch.input_ids, batch.mask(), batch.labels, alpha, smoothing, batch.target_indices
            )
            return {"loss": loss_sum * scale, "loss_sum": cross_entropy, "divergence_sum": divergence}
        loss_sum = self.model.loss_sum(batch.input_ids, batch.mask(), batch.labels, smoothing, batch.target_indices)
        return {"loss": loss_sum * scale, "loss_sum": loss_sum.detach()}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """Free the gradients after a step: Lightning would keep them during the next forward pass."""
        if ends_step(self.trainer, batch_index):
            self.optimizers(use_pl_optimizer=False).zero_grad()

    def on_validation_epoch_start(self) -> None:
        """Reset the sums and the predictions; prepare the searches."""
        self._validation_loss = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._predictions = {}
        if self.validation.eval_beams > 0 and ValidationSearcher.suits(self.device):
            dtype = matrix_dtype(self.trainer.precision_plugin)
            self._searcher = ValidationSearcher(self.model, self.model.dtype if dtype is None else dtype)

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add up the cross entropy (without smoothing), and collect the summaries.

        Without a beam search, a summary consists of the most probable token at each target position.
        """
        # The loss.
        loss, predictions = self.model.score_targets(batch.input_ids, batch.mask(), batch.labels, batch.target_indices)
        if len(predictions) == 0:  # a dummy batch
            return
        self._validation_loss[0] += loss
        self._validation_loss[1] += len(predictions)

        # The summaries.
        if self.validation.eval_beams > 0:
            with interruptible():
                sequences = self._search(batch)
        else:
            sequences = torch.full_like(batch.labels, self.model.config.pad_token_id)
            sequences.view(-1)[batch.target_indices] = predictions
        self._predictions.update(zip(batch.indices.tolist(), decode(sequences.cpu(), self.tokenizer), strict=True))

    def _search(self, batch: Batch) -> Tensor:
        """Search for the summaries of a batch: sequences (B, L)."""
        search = validation_search(self.validation)
        if self._searcher is not None:
            return self._searcher.search(batch, search)
        sequences = self.model.generate(batch.input_ids, batch.attention_mask, **search)
        assert isinstance(sequences, Tensor)
        return sequences

    def on_validation_epoch_end(self) -> None:
        """Compute the loss per target token and the mean ROUGE over the examples of all processes."""
        if self._searcher is not None:
            self._searcher.free()
            self._searcher = None

        # ROUGE of this process's examples.
        rouge = dict.fromkeys(ROUGE_TYPES, 0.0)
        if self._predictions:
            references = [self.references[index] for index in self._predictions]
            splitter, tokenizer = self.validation.rouge_sentence_splitter, self.validation.rouge_tokenizer
            with interruptible():
                rouge = rouge_scores(list(self._predictions.values()), references, splitter, tokenizer=tokenizer)
        leave_if_told(self.trainer)  # a process that has left the scores agrees on behalf of this, see CheckpointSaver

        # Means over the examples and tokens of all processes.
        examples = len(self._predictions)
        sums = torch.tensor([examples, *(rouge[name] * examples for name in ROUGE_TYPES)], dtype=torch.float64)
        totals = torch.cat([self._validation_loss, sums.to(self.device)])
        loss, tokens, examples, *rouge_sums = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        means = {name: rouge_sum / examples for name, rouge_sum in zip(ROUGE_TYPES, rouge_sums, strict=True)}
        self.validation_metrics = {"loss": loss / tokens, **means}

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and a schedule that advances with each optimizer step, in Lightning's form."""
        takes_apex = self.device.type == "cuda" and self.device_mesh is None  # apex cannot handle sharded weights
        optimizer = build_optimizer(self.model, self.optimization, fused_optimizers() if takes_apex else None)
        self._check_optimizer_of_resumed_run(optimizer)
        schedule = build_schedule(optimizer, self.optimization, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Optimizer, **_: Any) -> None:
        """Clip the gradients that the optimizer reads, at apex's O2 those of its master weights.

        This replaces Lightning's clipping, which refuses fused optimizers in mixed precision.
        """
        parameters = self.trainer.precision_plugin.main_params(optimizer)
        self.gradient_norm = full_tensor(clip_gradients(parameters, self.optimization.gradient_clip_val))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record configuration, flags and optimizer as plain types, which can be read without running code."""
        checkpoint["hyper_parameters"] = {
            "config": self.model.config.to_dict(),
            "arguments": self.flags,
            "optimizer": _class_name(self.optimizers().optimizer),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Allow more steps than the interrupted run had: Lightning would stop after what was the last batch."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
        self._resumed_optimizer = checkpoint["hyper_parameters"].get("optimizer")

    def _check_optimizer_of_resumed_run(self, optimizer: Optimizer) -> None:
        """Raise InputError if the checkpoint holds another optimizer's state, since apex was installed or removed."""
        name = _class_name(optimizer)
        if self._resumed_optimizer not in (None, name):
            raise InputError(
                f"--resume: the run's optimizer was {self._resumed_optimizer} and is now {name}; install or remove apex"
                " so that it is the same again"
            )


def validation_search(validation: ValidationSettings) -> dict[str, Any]:
    """Return the search settings of a validation that override the configuration: one sequence for each source."""
    return {
        "num_beams": validation.eval_beams,
        **output_limit(validation.eval_max_gen_length),
        "num_return_sequences": 1,
        "return_dict_in_generate": False,
    }


def _class_name(optimizer: Optimizer) -> str:
    """Return the optimizer's name in checkpoints; the project's own classes fix it, so that their module may move."""
    cls = type(optimizer)
    return getattr(cls, "NAME_IN_CHECKPOINTS", f"{cls.__module__}.{cls.__qualname__}")
