"""The command line of finetune.py, in groups. The defaults are those of the reference recipe."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from .options import (
    above,
    all_or_at_least,
    at_least,
    between,
    option,
    options_of,
    probability,
    some_of,
    to_values,
)
from .shared_args import (
    DATA_DIR_HELP,
    LARGEST_SEED,
    MOST_POSITIONS,
    BertScoreSettings,
    PrecisionSettings,
    PretrainedSettings,
    ProcessSettings,
    SummarySettings,
    TextSettings,
)

OPTIMIZERS = {"adamw": 2, "lamb": 2, "adafactor": 1}  # the most numbers that each keeps per trained weight
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")


@dataclass(frozen=True)
class DataSettings(TextSettings):
    """The texts to learn from."""

    task: str = option(
        "summarization",
        "data",
        "what to learn: summarizing texts, or (pre-training) restoring texts that were corrupted",
        choices=("summarization", "denoising"),
        fixed=True,
    )
    data_dir: str = option(
        "data/cnn_dm",
        "data",
        f"{DATA_DIR_HELP}; for denoising a folder with {{train,val}}.source, one paragraph per line and an empty line "
        "after each document",
    )
    pairs_dir: str | None = option(
        None, "denoising", "folder with train.{source,target}: pairs to learn along with the documents", fixed=True
    )
    mask_ratio: float = option(0.3, "denoising", "share of the tokens to mask", check=probability, fixed=True)
    poisson_lambda: float = option(
        3.5, "denoising", "mean number of tokens in a masked span", check=at_least(0.1), fixed=True
    )
    mask_random: float = option(
        0.1, "denoising", "share of the masks to replace by a random token", check=between(0, 1), fixed=True
    )
    permute_sentences: bool = option(True, "denoising", "shuffle the sentences of a text", fixed=True)
    n_train: int = option(
        -1, "data", "number of training examples to use, -1 for all", check=all_or_at_least(1), fixed=True
    )
    n_val: int = option(-1, "data", "number of validation examples to use, -1 for all", check=all_or_at_least(1))
    n_test: int = option(
        -1,
        "data",
        "number of test examples to evaluate the best model on at the end, -1 for all, 0 for no evaluation; without a"
        " test split there is none",
        check=all_or_at_least(0),
    )  # fmt: skip
    needs_test: bool = option(
        False, "data", "refuse to start without a test split, such as for another command that evaluates the model"
    )
    val_max_target_length: int | None = option(
        None,
        "data",
        "maximum number of tokens of a target in validation (default: --max_target_length)",
        check=at_least(2),
    )
    num_workers: int = option(
        0, "data", "processes that prepare batches, 0 to prepare them in the training process", check=at_least(0)
    )

    def with_lengths_of(self, config: BartConfig) -> Self:
        """Return these settings with all lengths set. Raises InputError if one exceeds the model's positions."""
        complete = super().with_lengths_of(config)
        return replace(complete, val_max_target_length=self.val_max_target_length or complete.max_target_length)


@dataclass(frozen=True)
class ModelSettings(PretrainedSettings):
    """The model to train, and which of its parts."""

    config_path: str | None = option(
        None, "model", "JSON configuration of the model (default: the one stored with the model)"
    )
    model_name_or_path: str = option(
        "facebook/bart-large",
        "model",
        "weights to start from: hub id, Hugging Face folder, .ckpt, model.pt of fairseq, or `scratch` for random ones",
    )
    add_tokens: str | None = option(
        None,
        "model",
        "file of words that the tokenizer and the model are to learn as a whole, one a line",
        fixed=True,
    )
    dropout: float | None = option(
        None, "model", "dropout of the activations (default: the configuration's)", check=probability, fixed=True
    )
    attention_dropout: float | None = option(
        None, "model", "dropout of the attention weights (default: the configuration's)", check=probability, fixed=True
    )
    max_positions: int | None = option(
        None,
        "model",
        "positions of the model, for long documents: its own are repeated, and trained also with --freeze_embeds"
        " (default: as many as it has)",
        check=between(2, MOST_POSITIONS),
        fixed=True,
    )
    freeze_embeds: bool = option(True, "model", "do not train the token and position embeddings", fixed=True)
    freeze_encoder: bool = option(False, "model", "do not train the encoder", fixed=True)
    lora: int | None = option(
        None,
        "model",
        "rank of adapters (LoRA) to train instead of the model; needs the package peft",
        check=at_least(1),
        fixed=True,
    )
    gradient_checkpointing: bool = option(
        False,
        "optimization",
        "keep only the inputs of layers, and compute the layers again in the backward pass: less memory, a third more"
        " work",
    )
    compile: bool = option(
        False, "precision", "compile the layers with torch.compile, if there is a compiler: slower at first"
    )


@dataclass(frozen=True)
class OptimizationSettings:
    """Batches, optimizer steps, and the learning rate."""

    max_steps: int = option(20000, "optimization", "maximum number of optimizer steps", check=at_least(1))
    max_epochs: int = option(
        -1, "optimization", "maximum number of passes over the data, -1 for no limit", check=all_or_at_least(1)
    )
    train_batch_size: int = option(
        24, "optimization", "examples per process in one forward pass", check=at_least(1), fixed=True
    )
    max_tokens_per_batch: int | None = option(
        None,
        "optimization",
        "maximum number of source and target tokens per process in one forward pass, including padding; replaces"
        " --train_batch_size (default: no limit)",
        check=at_least(1),
        fixed=True,
    )
    gradient_accumulation_steps: int = option(
        1, "optimization", "forward passes per optimizer step", check=at_least(1), fixed=True
    )
    auto_batch_size: bool = option(
        False,
        "optimization",
        "find the largest --train_batch_size that fits into memory, and adapt --gradient_accumulation_steps so that the"
        " number of examples in a step stays the same",
    )
    sortish_sampler: bool = option(True, "data", "group examples of similar length into batches", fixed=True)
    batch_shapes: str = option(
        "auto",
        "data",
        "few: pad sources to multiples of 128 tokens, so that few shapes of batches come back; exact: to multiples of"
        " 8; auto: few on a GPU",
        choices=("auto", "few", "exact"),
        fixed=True,
    )
    optimizer: str = option(
        "adamw", "optimization", "algorithm that updates the weights", choices=tuple(OPTIMIZERS), fixed=True
    )
    adam_beta2: float = option(
        0.999, "optimization", "decay rate of AdamW's mean of squared gradients", check=probability, fixed=True
    )
    learning_rate: float = option(1e-4, "optimization", "highest learning rate", check=above(1e-7), fixed=True)
    lr_scheduler: str = option(
        "polynomial",
        "optimization",
        "course of the learning rate after the warm-up; polynomial: a line down to 1e-7; linear: down to 0",
        choices=("polynomial", "linear", "cosine", "constant"),
        fixed=True,
    )
    warmup_steps: int = option(
        500, "optimization", "optimizer steps over which the learning rate rises from 0", check=at_least(0), fixed=True
    )
    weight_decay: float = option(
        0.1, "optimization", "weight decay of matrices; vectors are not decayed", check=at_least(0), fixed=True
    )
    label_smoothing: float = option(
        0.1,
        "optimization",
        "probability to take from the target token and to spread evenly over the vocabulary",
        check=probability,
        fixed=True,
    )
    r_drop: float = option(
        0.0,
        "optimization",
        "weight alpha of R-Drop: every target is predicted twice, with different dropout, and the two predictions are"
        " drawn together; doubles the work and memory of a batch; 0: off",
        check=at_least(0),
        fixed=True,
    )
    gradient_clip_val: float = option(
        0.1, "optimization", "largest 2-norm of the gradient; 0 for no limit", check=at_least(0), fixed=True
    )
    seed: int = option(
        42,
        "optimization",
        "seed of initial weights, dropout and the order of batches",
        check=between(0, LARGEST_SEED),
        fixed=True,
    )


@dataclass(frozen=True)
class ValidationSettings(SummarySettings, BertScoreSettings):
    """Validations, early stopping, and the evaluation of the best model."""

    eval_batch_size: int = option(
        128, "validation", "examples per process in one validation batch", check=at_least(1)
    )
    eval_beams: int = option(
        0,
        "validation",
        "beams of the search in validation; 0: no search, score the most probable token after each true prefix",
        check=at_least(0),
    )
    val_check_interval: float = option(
        0.3,
        "validation",
        "distance between validations; up to 1: fraction of an epoch; above 1: training examples of all processes",
        check=above(0),
    )
    val_metric: str | None = option(
        None,
        "validation",
        "metric that decides the best model and early stopping (default: loss; rouge2 if --eval_beams is above 0)",
        choices=("rouge1", "rouge2", "rougeL", "rougeLsum", "loss"),
        fixed=True,
    )
    early_stopping_patience: int = option(
        2, "validation", "stop after this many validations in a row without improvement", check=at_least(1)
    )
    min_epochs: int = option(
        0, "optimization", "passes over the data before validations count for early stopping", check=at_least(0)
    )
    num_sanity_val_steps: int = option(
        0, "validation", "validation batches to try before training, -1 for all", check=all_or_at_least(0)
    )

    def __post_init__(self) -> None:
        if self.val_metric is None:
            object.__setattr__(self, "val_metric", "rouge2" if self.eval_beams > 0 else "loss")


@dataclass(frozen=True)
class MixedPrecisionSettings(PrecisionSettings):
    """The precision of the computation, and the implementation of mixed precision."""

    amp_level: str = option(
        "O1",
        "precision",
        "with --fp16: O1 casts in the forward pass; O2 (apex) keeps float16 weights beside float32 ones; O0 is float32",
        choices=("O0", "O1", "O2"),
        fixed=True,
    )
    amp_backend: str = option(
        "auto",
        "precision",
        "with --fp16: implementation of mixed precision; auto: apex's if apex.amp is installed, else torch's",
        choices=("auto", "native", "apex"),
        fixed=True,
    )

    @property
    def scales_loss(self) -> bool:
        """Return whether the computation is in float16, which needs the loss to be scaled."""
        return self.fp16 and self.amp_level != "O0"

    @property
    def is_mixed(self) -> bool:
        """Return whether matrix products are in half precision although there are float32 weights."""
        return self.bf16 or self.scales_loss


@dataclass(frozen=True)
class DistributedSettings(ProcessSettings):
    """The processes that train together, and how they share the work."""

    gpus: int | None = option(
        None, "precision", "GPUs of each machine, 0 for the CPU (default: 1 if there is one)", check=at_least(0)
    )
    num_nodes: int | None = option(
        None, "precision", "machines on which torchrun starts processes (default: torchrun's number)", check=at_least(1)
    )
    strategy: str = option(
        "ddp",
        "precision",
        "how processes work together; fsdp: each keeps a slice of weights, gradients and optimizer state, for large"
        " models",
        choices=("ddp", "fsdp"),
        fixed=True,
    )
    ddp_backend: str = option(
        "native",
        "precision",
        "DistributedDataParallel of torch (native), or of an apex that still has it",
        choices=("native", "apex"),
        fixed=True,
    )


@dataclass(frozen=True)
class RunSettings:
    """The results folder, and what to keep and log there."""

    output_dir: str = option("results/bart_pyt", "output", "folder for checkpoints, metrics and the final model")
    overwrite_output_dir: bool = option(False, "output", "delete the results of an earlier run in --output_dir")
    resume: bool = option(False, "output", "continue from the newest intact checkpoint in --output_dir")
    save_checkpoint_steps: int | None = option(
        None,
        "output",
        "optimizer steps between checkpoints, which are half an hour apart at most (default: 20 checkpoints over the"
        " run)",
        check=at_least(1),
    )
    check_disk_space: bool = option(True, "output", "refuse to start if the disk is too small for the checkpoints")
    save_top_k: int = option(1, "output", "best checkpoints to keep, besides the newest two", check=at_least(1))
    average_checkpoints: int = option(
        0,
        "output",
        "keep the checkpoints after the last so many validations; at the end average their weights, and evaluate the"
        " mean beside the best model; 0: off",
        check=at_least(0),
    )
    logger: str = option(
        "csv,tensorboard",
        "output",
        "loggers besides metrics.json: csv, tensorboard, wandb, mlflow, separated by commas; or none",
        check=some_of(*LOGGERS),
    )
    log_every_n_steps: int = option(10, "output", "optimizer steps between two records of the loss", check=at_least(1))
    data_report: bool = option(False, "data", "print a report on the data, and exit without training")
    dry_run: bool = option(
        False, "data", "try a few steps, print the time, memory and disk space of the training, and exit without it"
    )

    @property
    def loggers(self) -> list[str]:
        """Return the names in --logger."""
        return [name for name in self.logger.split(",") if name != "none"]


@dataclass(frozen=True)
class TrainingArguments:
    """The command line of finetune.py."""

    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    precision: MixedPrecisionSettings = field(default_factory=MixedPrecisionSettings)
    processes: DistributedSettings = field(default_factory=DistributedSettings)
    run: RunSettings = field(default_factory=RunSettings)

    @classmethod
    def fixed_on_resume(cls) -> dict[str, Any]:
        """Return the defaults, by name, of the options that cannot change when a training is resumed."""
        return {option.name: option.default for option in options_of(cls) if option.metadata["fixed"]}

    def with_lengths_of(self, config: BartConfig) -> Self:
        """Return these arguments with all lengths set. Raises InputError if one exceeds the model's positions."""
        data = self.data.with_lengths_of(config)
        validation = self.validation.with_longest_summary(data.max_target_length, config)
        return replace(self, data=data, validation=validation)

    def to_dict(self) -> dict[str, Any]:
        """Return the value of every option by name, as plain JSON types."""
        return to_values(self)

    def check(self) -> None:
        """Raise InputError, naming the flags, if a combination is impossible."""
        model, data, optimization, run = self.model, self.data, self.optimization, self.run
        self.precision.check()
        self.validation.check_bertscore()

        # A new model, and pre-training.
        if model.model_name_or_path == "scratch":
            if model.config_path is None:
                raise InputError("--model_name_or_path scratch: random weights need a shape; give --config_path")
            if model.tokenizer_name_or_path is None:
                raise InputError("--model_name_or_path scratch: has no tokenizer; give --tokenizer_name_or_path")
            if model.freeze_embeds:
                raise InputError(
                    "--model_name_or_path scratch: random embeddings must be trained; give --no-freeze_embeds"
                )
            if model.max_positions is not None:
                raise InputError(
                    "--max_positions: repeats the positions of a trained model; for a new one set "
                    "max_position_embeddings in --config_path"
                )
        if data.task == "denoising" and model.freeze_embeds:
            raise InputError("--task denoising: pre-training trains the embeddings too; give --no-freeze_embeds")
        if data.split is not None and data.task == "denoising":
            raise InputError("--split: divides pairs; for --task denoising make a val.source")
        if data.pairs_dir is not None and data.task != "denoising":
            raise InputError("--pairs_dir: is for --task denoising alone; to learn summaries give --data_dir")

        if model.lora is not None:
            self._check_lora()

        # Processes, batches, and the results folder.
        if self.processes.strategy == "fsdp":
            self._check_fsdp()
        if optimization.auto_batch_size and optimization.max_tokens_per_batch is not None:
            raise InputError("--auto_batch_size and --max_tokens_per_batch exclude each other; give one of them")
        if model.compile and self.processes.strategy == "fsdp":
            raise InputError("--compile: cannot compile layers that are sharded over processes; give --strategy ddp")
        if run.resume and run.overwrite_output_dir:
            raise InputError("--resume and --overwrite_output_dir exclude each other; give one of them")

    def _check_lora(self) -> None:
        """Raise InputError if a flag asks for something that a training of adapters cannot do."""
        if not self.model.freeze_embeds:
            raise InputError("--lora: adapters are trained and embeddings are not; leave out --no-freeze_embeds")
        if self.model.add_tokens is not None:
            raise InputError(
                "--lora: adapters hold no new embeddings; train with --add_tokens first, and then its best_tfmr"
            )
        if self.model.max_positions is not None:
            raise InputError(
                "--lora: adapters hold no new positions; train with --max_positions first, and then its best_tfmr"
            )
        if self.processes.strategy == "fsdp":
            raise InputError("--lora: adapters cannot be sharded over processes; give --strategy ddp")
        if self.precision.amp_level == "O2":
            raise InputError("--lora: adapters need float32 weights; give --amp_level O1")

    def _check_fsdp(self) -> None:
        """Raise InputError if a flag asks for something that a sharded model cannot do."""
        if self.processes.ddp_backend == "apex":
            raise InputError("--ddp_backend apex: is for --strategy ddp alone; give native with fsdp")
        if self.precision.fp16:
            raise InputError("--strategy fsdp: has no loss scaling; give --bf16, --tf32 or neither instead of --fp16")
        if self.optimization.optimizer != "adamw":
            optimizer = self.optimization.optimizer
            raise InputError(f"--strategy fsdp: --optimizer {optimizer} needs whole matrices; give adamw")
        if self.validation.eval_beams > 0:
            raise InputError("--strategy fsdp: a sharded model cannot generate summaries; give --eval_beams 0")
