"""What Lightning trains: a model, its loss per target token and its validation."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..cli.args import TrainingArguments, output_limit
from ..data.examples import Batch, decode
from ..evaluation.rouge import ROUGE_TYPES, rouge_scores
from ..runtime.apex_package import fused_optimizers
from .optimization import build_optimizer, build_schedule, clip_gradients
from .strategies.sharding import shard, whole


class SummarizationModule(pl.LightningModule):
    """Fine-tuning of one model. Checkpoints hold its weights as ``model.<Hugging Face's name>``."""

    def __init__(
        self,
        model: BartForConditionalGeneration,
        arguments: TrainingArguments,
        total_steps: int,
        tokenizer: PreTrainedTokenizerBase,
        references: list[str],
    ) -> None:
        """``total_steps`` is the length of the schedule; ``references[row]`` is a target text of validation."""
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.total_steps = total_steps
        self.tokenizer = tokenizer
        self.references = references
        self.gradient_norm = torch.tensor(0.0)  # of the last optimizer step, before clipping
        self.validation_metrics: dict[str, float] = {}  # of the last validation, over all processes
        self._validation_loss = torch.zeros(2)  # summed cross entropy and target tokens, of the validation that runs
        self._predictions: dict[int, str] = {}  # by row, of the validation that runs
        self._optimizer_before: str | None = None  # its class, in the run that is resumed

    def configure_model(self) -> None:
        """Shard the model where the strategy is to."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """The loss of one micro-batch, scaled so that the gradient is that of the mean over the step's target tokens.

        Lightning divides by the micro-batches of a step and DDP by the processes. Both are undone here: they would
        weigh every micro-batch the same, however many tokens it has.
        """
        loss_sum = self.model.loss_sum(
            batch.input_ids, batch.mask(), batch.labels, self.arguments.label_smoothing, batch.target_indices
        )
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return {"loss": loss_sum * (parts / batch.step_target_tokens), "loss_sum": loss_sum.detach()}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_index: int) -> None:
        """After a step, free the gradients: Lightning would keep them through the next forward pass."""
        if (batch_index + 1) % self.trainer.accumulate_grad_batches == 0:
            self.optimizers(use_pl_optimizer=False).zero_grad()

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self._validation_loss = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._predictions = {}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Add up the cross entropy (without smoothing) and collect what the model says."""
        loss, predictions = self.model.score_targets(batch.input_ids, batch.mask(), batch.labels, batch.target_indices)
        if len(predictions) == 0:  # a stand-in
            return
        self._validation_loss[0] += loss
        self._validation_loss[1] += len(predictions)
        if self.arguments.eval_beams > 0:
            sequences = self.model.generate(
                batch.input_ids,
                batch.attention_mask,
                **validation_search(self.arguments),
            )
        else:
            sequences = torch.full_like(batch.labels, self.model.config.pad_token_id)
            sequences.view(-1)[batch.target_indices] = predictions
        self._predictions.update(zip(batch.rows.tolist(), decode(sequences, self.tokenizer), strict=True))

    def on_validation_epoch_end(self) -> None:
        """Loss per target token and mean ROUGE, over the examples of all processes."""
        rouge = dict.fromkeys(ROUGE_TYPES, 0.0)
        if self._predictions:
            references = [self.references[row] for row in self._predictions]
            splitter = self.arguments.rouge_sentence_splitter
            rouge = rouge_scores(list(self._predictions.values()), references, splitter)
        examples = len(self._predictions)
        sums = torch.tensor([examples, *(rouge[name] * examples for name in ROUGE_TYPES)], dtype=torch.float64)
        totals = torch.cat([self._validation_loss, sums.to(self.device)])
        loss, tokens, examples, *rouge_sums = self.trainer.strategy.reduce(totals, reduce_op="sum").tolist()
        means = {name: rouge_sum / examples for name, rouge_sum in zip(ROUGE_TYPES, rouge_sums, strict=True)}
        self.validation_metrics = {"loss": loss / tokens, **means}

    def configure_optimizers(self) -> Any:
        """Lightning's form of an optimizer and a schedule by optimizer step."""
        arguments = self.arguments
        takes_apex = self.device.type == "cuda" and self.device_mesh is None  # apex's know no sharded weights
        optimizer = build_optimizer(
            self.model,
            arguments.optimizer,
            arguments.learning_rate,
            arguments.weight_decay,
            beta2=arguments.adam_beta2,
            apex=fused_optimizers() if takes_apex else None,
        )
        self._check_optimizer_of_resumed_run(optimizer)
        schedule = build_schedule(optimizer, arguments.lr_scheduler, arguments.warmup_steps, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: Optimizer, **_: Any) -> None:
        """Clip what the optimizer reads, which need not be the model's own weights.

        By torch's function: Lightning's refuses fused optimizers under mixed precision.
        """
        parameters = self.trainer.precision_plugin.main_params(optimizer)
        self.gradient_norm = whole(clip_gradients(parameters, self.arguments.gradient_clip_val))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint say what it is; plain types only, so that it can be read without unpickling code."""
        checkpoint["hyper_parameters"] = {
            "config": self.model.config.to_dict(),
            "arguments": self.arguments.to_dict(),
            "optimizer": _class_name(self.optimizers().optimizer),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let a run that is resumed with more steps than it had go on after what was its last batch."""
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
        self._optimizer_before = checkpoint["hyper_parameters"].get("optimizer")

    def _check_optimizer_of_resumed_run(self, optimizer: Optimizer) -> None:
        """Raise InputError where its state in the checkpoint is that of another class: apex is there, or gone."""
        name = _class_name(optimizer)
        if self._optimizer_before not in (None, name):
            raise InputError(
                f"--resume: the run's optimizer was {self._optimizer_before} and is now {name}; resume it where apex is"
                " installed as it was"
            )


def validation_search(arguments: TrainingArguments) -> dict[str, Any]:
    """What the search of a validation is told beyond the configuration: one sequence for each source."""
    return {
        "num_beams": arguments.eval_beams,
        **output_limit(arguments.eval_max_gen_length),
        "num_return_sequences": 1,
        "return_dict_in_generate": False,
    }


def _class_name(optimizer: Optimizer) -> str:
    """The optimizer's name in checkpoints; the project's own have one that stays when their module moves."""
    kind = type(optimizer)
    return getattr(kind, "NAME_IN_CHECKPOINTS", f"{kind.__module__}.{kind.__qualname__}")
