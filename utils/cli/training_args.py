"""The command line of finetune.py, in groups. The defaults are the reference recipe's."""

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
    PrecisionSettings,
    ProcessSettings,
    SummarySettings,
    TextSettings,
    checked_length,
)

OPTIMIZERS = {"adamw": 2, "lamb": 2, "adafactor": 1}  # with the numbers that each keeps for one that it trains, at most
LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")


@dataclass(frozen=True)
class DataSettings(TextSettings):
    """The texts that are learnt."""

    task: str = option(
        "summarization",
        "data",
        "what is learnt: summaries of texts, or (pre-training) the texts themselves, out of corrupted ones",
        choices=("summarization", "denoising"),
        fixed=True,
    )
    data_dir: str = option(
        "data/cnn_dm",
        "data",
        f"{DATA_DIR_HELP}; for denoising a folder of {{train,val}}.source, one paragraph per line and an empty line "
        "after each document",
    )
    pairs_dir: str | None = option(
        None, "denoising", "folder with train.{source,target}: pairs that are learnt beside the documents", fixed=True
    )
    mask_ratio: float = option(0.3, "denoising", "share of the tokens that is masked", check=probability, fixed=True)
    poisson_lambda: float = option(
        3.5, "denoising", "tokens in a masked span, in the mean", check=at_least(0.1), fixed=True
    )
    mask_random: float = option(
        0.1, "denoising", "share of the masks replaced by a random token", check=between(0, 1), fixed=True
    )
    permute_sentences: bool = option(True, "denoising", "shuffle the sentences of a text", fixed=True)
    n_train: int = option(-1, "data", "training examples used, -1 for all", check=all_or_at_least(1), fixed=True)
    n_val: int = option(-1, "data", "validation examples used, -1 for all", check=all_or_at_least(1))
    n_test: int = option(
        -1, "data", "test examples that best_tfmr is evaluated on at the end, -1 for all, 0 for no test",
        check=all_or_at_least(0),
    )  # fmt: skip
    needs_test: bool = option(
        False, "data", "start only where there is a sound test split: an evaluation by another command follows"
    )
    val_max_target_length: int | None = option(
        None, "data", "tokens of a target in validation (default: --max_target_length)", check=at_least(2)
    )
    num_workers: int = option(0, "data", "processes that prepare batches, 0 for none", check=at_least(0))

    def with_lengths_of(self, config: BartConfig) -> Self:
        """Return the same with all lengths set. Raises InputError if one exceeds the model's positions."""
        complete = super().with_lengths_of(config)
        return replace(complete, val_max_target_length=self.val_max_target_length or complete.max_target_length)


@dataclass(frozen=True)
class ModelSettings:
    """The model that is trained, and what of it."""

    tokenizer_name_or_path: str | None = option(
        None, "model", "folder or hub id of the tokenizer (default: the model's own)", fixed=True
    )
    config_path: str | None = option(
        None, "model", "JSON configuration of the model (default: the one stored with the model)"
    )
    model_name_or_path: str = option(
        "facebook/bart-large",
        "model",
        "weights to start from: hub id, Hugging Face folder, .ckpt, model.pt of fairseq, or `scratch` for random ones",
    )
    dropout: float | None = option(
        None,
        "model",
        "share of the activations that training sets to 0 (default: the configuration's)",
        check=probability,
        fixed=True,
    )
    attention_dropout: float | None = option(
        None, "model", "the same of attention weights (default: the configuration's)", check=probability, fixed=True
    )
    freeze_embeds: bool = option(True, "model", "do not train the token and position embeddings", fixed=True)
    freeze_encoder: bool = option(False, "model", "do not train the encoder", fixed=True)
    gradient_checkpointing: bool = option(
        False,
        "optimization",
        "keep only the inputs of layers and compute them again for the gradients: a third more work, less memory",
    )
    compile: bool = option(
        False, "precision", "compile the layers with torch.compile, where there is a compiler: slower at first"
    )


@dataclass(frozen=True)
class OptimizationSettings:
    """Batches and steps."""

    max_steps: int = option(20000, "optimization", "optimizer steps at most", check=at_least(1))
    max_epochs: int = option(
        -1, "optimization", "passes over the data at most, -1 for no limit", check=all_or_at_least(1)
    )
    train_batch_size: int = option(
        24, "optimization", "examples per process in one forward pass", check=at_least(1), fixed=True
    )
    max_tokens_per_batch: int | None = option(
        None,
        "optimization",
        "source and target tokens per process in one forward pass at most, padding included; as many examples as fit"
        " then, and --train_batch_size is not used (default: no limit)",
        check=at_least(1),
        fixed=True,
    )
    gradient_accumulation_steps: int = option(
        1, "optimization", "forward passes per optimizer step", check=at_least(1), fixed=True
    )
    auto_batch_size: bool = option(
        False,
        "optimization",
        "find the largest --train_batch_size that fits into memory, and change --gradient_accumulation_steps so that a"
        " step has as many examples as with the two that are given",
    )
    sortish_sampler: bool = option(True, "data", "put examples of similar length into one batch", fixed=True)
    optimizer: str = option("adamw", "optimization", "optimizer", choices=tuple(OPTIMIZERS), fixed=True)
    adam_beta2: float = option(
        0.999, "optimization", "decay of the mean square of the gradients in AdamW", check=probability, fixed=True
    )
    learning_rate: float = option(1e-4, "optimization", "highest learning rate", check=above(1e-7), fixed=True)
    lr_scheduler: str = option(
        "polynomial",
        "optimization",
        "learning rate after the warm-up; polynomial: a line down to 1e-7",
        choices=("polynomial", "linear", "cosine", "constant"),
        fixed=True,
    )
    warmup_steps: int = option(
        500, "optimization", "optimizer steps over which the learning rate rises", check=at_least(0), fixed=True
    )
    weight_decay: float = option(
        0.1, "optimization", "weight decay of matrices; vectors are not decayed", check=at_least(0), fixed=True
    )
    label_smoothing: float = option(
        0.1, "optimization", "probability taken from the right token and spread over all", check=probability, fixed=True
    )
    gradient_clip_val: float = option(
        0.1, "optimization", "longest gradient, by its 2-norm; 0 for no limit", check=at_least(0), fixed=True
    )
    seed: int = option(
        42, "optimization", "seed of weights, dropout and batch order", check=between(0, LARGEST_SEED), fixed=True
    )


@dataclass(frozen=True)
class ValidationSettings(SummarySettings):
    """Validations, early stopping, and the evaluation of the best model."""

    eval_batch_size: int = option(
        128, "validation", "examples per process in one batch of validation", check=at_least(1)
    )
    eval_beams: int = option(
        0, "validation", "beams of validation; 0 scores the likeliest token after the true ones", check=at_least(0)
    )
    val_check_interval: float = option(
        0.3,
        "validation",
        "up to 1: the fraction of an epoch between validations; above 1: training examples, over all processes",
        check=above(0),
    )
    val_metric: str | None = option(
        None,
        "validation",
        "what decides the best model and early stopping (default: loss, rouge2 when --eval_beams is above 0)",
        choices=("rouge1", "rouge2", "rougeL", "rougeLsum", "loss"),
        fixed=True,
    )
    early_stopping_patience: int = option(
        2, "validation", "validations without improvement that end the training", check=at_least(1)
    )
    min_epochs: int = option(0, "optimization", "passes over the data before early stopping", check=at_least(0))
    num_sanity_val_steps: int = option(
        0, "validation", "batches of validation tried before training, -1 for all", check=all_or_at_least(0)
    )

    def __post_init__(self) -> None:
        if self.val_metric is None:
            object.__setattr__(self, "val_metric", "rouge2" if self.eval_beams > 0 else "loss")


@dataclass(frozen=True)
class MixedPrecisionSettings(PrecisionSettings):
    """The numbers that are computed with, and whose mixed precision."""

    amp_level: str = option(
        "O1",
        "precision",
        "with --fp16: O1 casts in the forward pass, O2 (apex) has half weights beside float32 ones, O0 is float32",
        choices=("O0", "O1", "O2"),
        fixed=True,
    )
    amp_backend: str = option(
        "auto",
        "precision",
        "with --fp16: whose mixed precision; auto: apex's where apex.amp is installed, else torch's own",
        choices=("auto", "native", "apex"),
        fixed=True,
    )

    @property
    def scales_loss(self) -> bool:
        """Whether float16 is used, with the scaling of the loss that it needs."""
        return self.fp16 and self.amp_level != "O0"

    @property
    def is_mixed(self) -> bool:
        """Whether matrix products are in half precision beside float32 weights."""
        return self.bf16 or self.scales_loss


@dataclass(frozen=True)
class DistributedSettings(ProcessSettings):
    """The processes that train together, and how."""

    gpus: int | None = option(
        None, "precision", "GPUs of each machine, 0 for the CPU (default: 1 where there is one)", check=at_least(0)
    )
    num_nodes: int | None = option(
        None, "precision", "machines; torchrun starts the processes on them (default: as it did)", check=at_least(1)
    )
    strategy: str = option(
        "ddp",
        "precision",
        "how processes work together; fsdp: each keeps a slice of weights, gradients and optimizer, for large models",
        choices=("ddp", "fsdp"),
        fixed=True,
    )
    ddp_backend: str = option(
        "native",
        "precision",
        "DistributedDataParallel of torch, or of apex where it has one",
        choices=("native", "apex"),
        fixed=True,
    )


@dataclass(frozen=True)
class RunSettings:
    """The results folder, and what is kept and logged there."""

    output_dir: str = option("results/bart_pyt", "output", "folder of checkpoints, metrics and the final model")
    overwrite_output_dir: bool = option(False, "output", "delete the results of an earlier run in --output_dir")
    resume: bool = option(False, "output", "continue from the newest whole checkpoint in --output_dir")
    save_checkpoint_steps: int | None = option(
        None,
        "output",
        "optimizer steps between checkpoints (default: 20 checkpoints over the run); half an hour at most",
        check=at_least(1),
    )
    check_disk_space: bool = option(True, "output", "start only where the checkpoints will find room")
    save_top_k: int = option(1, "output", "best checkpoints kept, besides the newest two", check=at_least(1))
    logger: str = option(
        "csv,tensorboard",
        "output",
        "where numbers go besides metrics.json: csv, tensorboard, wandb, mlflow, with commas between; or none",
        check=some_of(*LOGGERS),
    )
    log_every_n_steps: int = option(10, "output", "optimizer steps between two records of the loss", check=at_least(1))
    data_report: bool = option(False, "data", "print what the data are like, and end without training")
    dry_run: bool = option(
        False, "data", "try a few steps, print what the training will take (time, memory, disk), and end without it"
    )

    @property
    def loggers(self) -> list[str]:
        """The names in --logger."""
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
    def fixed_on_resume(cls) -> list[str]:
        """Return the names of the options that cannot change when a training is resumed."""
        return [option.name for option in options_of(cls) if option.metadata["fixed"]]

    def with_lengths_of(self, config: BartConfig) -> Self:
        """Return the same with all lengths set. Raises InputError if one exceeds the model's positions."""
        data = self.data.with_lengths_of(config)
        longest = self.validation.eval_max_gen_length or data.max_target_length
        checked = checked_length("eval_max_gen_length", longest, config)
        return replace(self, data=data, validation=replace(self.validation, eval_max_gen_length=checked))

    def to_dict(self) -> dict[str, Any]:
        """Return the value of every option by name, as plain JSON types."""
        return to_values(self)

    def check(self) -> None:
        """Raise InputError, naming the flags, if a combination is impossible."""
        model, data, optimization, run = self.model, self.data, self.optimization, self.run
        self.precision.check()
        if model.model_name_or_path == "scratch":
            if model.config_path is None:
                raise InputError("--model_name_or_path scratch: random weights need a shape; give --config_path")
            if model.tokenizer_name_or_path is None:
                raise InputError("--model_name_or_path scratch: has no tokenizer; give --tokenizer_name_or_path")
            if model.freeze_embeds:
                raise InputError("--model_name_or_path scratch: random embeddings must learn; give --no-freeze_embeds")
        if data.task == "denoising" and model.freeze_embeds:
            raise InputError("--task denoising: pre-training trains the embeddings too; give --no-freeze_embeds")
        if data.pairs_dir is not None and data.task != "denoising":
            raise InputError("--pairs_dir: is for --task denoising; give the folder as --data_dir")
        if self.processes.strategy == "fsdp":
            self._check_fsdp()
        if optimization.auto_batch_size and optimization.max_tokens_per_batch is not None:
            raise InputError("--auto_batch_size: --max_tokens_per_batch already says how large batches are; give one")
        if model.compile and self.processes.strategy == "fsdp":
            raise InputError("--compile: layers that are spread over processes are not compiled; give --strategy ddp")
        if run.resume and run.overwrite_output_dir:
            raise InputError("--resume and --overwrite_output_dir exclude each other; give one of them")

    def _check_fsdp(self) -> None:
        """Raise InputError if a flag asks for what a model in slices cannot do."""
        if self.processes.ddp_backend == "apex":
            raise InputError("--ddp_backend apex: is a way of --strategy ddp; give native with fsdp")
        if self.precision.fp16:
            raise InputError("--strategy fsdp: has no loss scaling; give --bf16, --tf32 or neither instead of --fp16")
        if self.optimization.optimizer != "adamw":
            optimizer = self.optimization.optimizer
            raise InputError(f"--strategy fsdp: --optimizer {optimizer} needs whole matrices; give adamw")
        if self.validation.eval_beams > 0:
            raise InputError("--strategy fsdp: a model in slices cannot search; give --eval_beams 0")
