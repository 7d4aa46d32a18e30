"""The command lines of finetune.py and run_eval.py: typed arguments, and the one parser that reads them."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError

from .args_search import SEARCH_MEANINGS
from .command_line import above, all_or_at_least, at_least, between, option, probability, some_of

LOGGERS = ("csv", "tensorboard", "wandb", "mlflow")
_LARGEST_SEED = 2**31 - 1  # numpy takes no more than twice that; processes add their number
_DATA_DIR_HELP = (
    "folder of {train,val,test}.{source,target}, one example per line, or of tables {train,val,test}"
    ".{csv,tsv,jsonl,parquet}; or a data set of the hub: OWNER/NAME[@REVISION][:CONFIG]"
)
_NOT_FOR_TEXT = (
    "output_scores",
    "output_logits",
    "return_dict_in_generate",
)  # they shape what `generate` returns, not what it writes


def output_limit(tokens: int) -> dict[str, Any]:
    """What a search is told so that its outputs have at most ``tokens`` tokens, whatever the configuration says."""
    return {"max_length": tokens, "max_new_tokens": None}


@dataclass(frozen=True)
class SharedArguments:
    """What training and evaluation have in common."""

    tokenizer_name_or_path: str | None = option(
        None, "model", "folder or hub id of the tokenizer (default: the model's own)", fixed=True
    )
    text_column: str | None = option(
        None, "data", "column of the texts in tables (default: a usual name, such as article, document or text)"
    )
    summary_column: str | None = option(
        None, "data", "column of the summaries in tables (default: a usual name, such as highlights or summary)"
    )
    max_source_length: int | None = option(
        None,
        "data",
        "tokens read of a source, <s> and </s> included (default: the configuration's max_position_embeddings)",
        check=at_least(2),
        fixed=True,
    )
    max_target_length: int | None = option(
        None,
        "data",
        "tokens learnt of a target, and written of a summary (default: the configuration's max_length)",
        check=at_least(2),
        fixed=True,
    )
    long_documents: str = option(
        "truncate",
        "search",
        "when summaries are written: cut what is beyond --max_source_length away, or summarize it in pieces",
        choices=("truncate", "chunk"),
    )
    eval_max_gen_length: int | None = option(
        None,
        "search",
        "tokens of a generated summary at most (default: --max_target_length)",
        check=at_least(2),
        aliases=["max_length"],
    )
    rouge_sentence_splitter: str = option(
        "period",
        "scores",
        "what ends a sentence for ROUGE-Lsum; period: `. `, the reference's rule; nupunkt: a trained splitter; newline",
        choices=("period", "nupunkt", "newline"),
    )
    fp16: bool = option(False, "precision", "half precision: float16 (needs a GPU)", fixed=True)
    bf16: bool = option(False, "precision", "half precision: bfloat16 (CPU, or GPU from Ampere on)", fixed=True)
    tf32: bool = option(False, "precision", "float32 with TF32 matrix products (GPU from Ampere on)", fixed=True)
    cpu_affinity: bool = option(True, "precision", "run each process on the processor cores near its GPU")
    timeout: int = option(
        300, "precision", "seconds after which a process that waits for another one gives up", check=at_least(1)
    )

    @property
    def precision(self) -> str:
        """fp16, bf16, tf32 or fp32, as in the scripts and the reports."""
        return next((name for name in ("fp16", "bf16", "tf32") if getattr(self, name)), "fp32")

    def check(self) -> None:
        """Raise InputError, naming the flags, where a combination is impossible."""
        chosen = [name for name in ("fp16", "bf16", "tf32") if getattr(self, name)]
        if len(chosen) > 1:
            raise InputError(f"--{chosen[0]} and --{chosen[1]} exclude each other; give one of them")

    def with_lengths_of(self, config: BartConfig) -> Self:
        """The same with all lengths set. Raises InputError if one exceeds the model's positions."""
        positions = config.max_position_embeddings
        target = self.max_target_length or config.longest_output(positions)
        lengths = {
            "max_source_length": self.max_source_length or positions,
            "max_target_length": target,
            "eval_max_gen_length": self.eval_max_gen_length or target,
        }
        for name, length in lengths.items():
            if length > positions:
                raise InputError(f"--{name} {length}: the model has {positions} positions")
        return replace(self, **lengths)

    def to_dict(self) -> dict[str, Any]:
        """Every argument, as plain JSON types."""
        return asdict(self)


@dataclass(frozen=True)
class TrainingArguments(SharedArguments):
    """The command line of finetune.py. The defaults are the reference recipe's."""

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
        f"{_DATA_DIR_HELP}; for denoising a folder of {{train,val}}.source, one paragraph per line and an empty line "
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
    sortish_sampler: bool = option(True, "data", "put examples of similar length into one batch", fixed=True)
    data_report: bool = option(False, "data", "print what the data are like, and end without training")
    dry_run: bool = option(
        False, "data", "try a few steps, print what the training will take (time, memory, disk), and end without it"
    )
    num_workers: int = option(0, "data", "processes that prepare batches, 0 for none", check=at_least(0))

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

    max_steps: int = option(20000, "optimization", "optimizer steps at most", check=at_least(1))
    max_epochs: int = option(
        -1, "optimization", "passes over the data at most, -1 for no limit", check=all_or_at_least(1)
    )
    min_epochs: int = option(0, "optimization", "passes over the data before early stopping", check=at_least(0))
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
    gradient_checkpointing: bool = option(
        False,
        "optimization",
        "keep only the inputs of layers and compute them again for the gradients: a third more work, less memory",
    )
    optimizer: str = option("adamw", "optimization", "optimizer", choices=("adamw", "lamb", "adafactor"), fixed=True)
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
        42, "optimization", "seed of weights, dropout and batch order", check=between(0, _LARGEST_SEED), fixed=True
    )

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
    num_sanity_val_steps: int = option(
        0, "validation", "batches of validation tried before training, -1 for all", check=all_or_at_least(0)
    )

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

    compile: bool = option(
        False, "precision", "compile the layers with torch.compile, where there is a compiler: slower at first"
    )

    def __post_init__(self) -> None:
        if self.val_metric is None:
            object.__setattr__(self, "val_metric", "rouge2" if self.eval_beams > 0 else "loss")

    def with_lengths_of(self, config: BartConfig) -> Self:
        """The same with all lengths set, that of validation targets too. Raises InputError as of all arguments."""
        complete = super().with_lengths_of(config)
        return replace(complete, val_max_target_length=self.val_max_target_length or complete.max_target_length)

    @property
    def loggers(self) -> list[str]:
        """What --logger names."""
        return [name for name in self.logger.split(",") if name != "none"]

    @classmethod
    def fixed_on_resume(cls) -> list[str]:
        """The arguments that cannot change when a training is resumed."""
        return [argument.name for argument in fields(cls) if argument.metadata["fixed"]]

    def check(self) -> None:
        super().check()
        if self.model_name_or_path == "scratch":
            if self.config_path is None:
                raise InputError("--model_name_or_path scratch: random weights need a shape; give --config_path")
            if self.tokenizer_name_or_path is None:
                raise InputError("--model_name_or_path scratch: has no tokenizer; give --tokenizer_name_or_path")
            if self.freeze_embeds:
                raise InputError("--model_name_or_path scratch: random embeddings must learn; give --no-freeze_embeds")
        if self.task == "denoising" and self.freeze_embeds:
            raise InputError("--task denoising: pre-training trains the embeddings too; give --no-freeze_embeds")
        if self.pairs_dir is not None and self.task != "denoising":
            raise InputError("--pairs_dir: is for --task denoising; give the folder as --data_dir")
        if self.auto_batch_size and self.max_tokens_per_batch is not None:
            raise InputError("--auto_batch_size: --max_tokens_per_batch already says how large batches are; give one")
        if self.compile and self.strategy == "fsdp":
            raise InputError("--compile: layers that are spread over processes are not compiled; give --strategy ddp")
        if self.resume and self.overwrite_output_dir:
            raise InputError("--resume and --overwrite_output_dir exclude each other; give one of them")


@dataclass(frozen=True)
class EvaluationArguments(SharedArguments):
    """The command line of run_eval.py."""

    model: str = option("", "model", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    config: str = option("", "model", "JSON configuration: the search settings and the prefix", positional=True)
    data_dir: str = option("", "data", _DATA_DIR_HELP, positional=True)
    save_path: str = option("", "output", "folder for the generations and the scores", positional=True)

    type_path: str = option("test", "data", "split to evaluate", choices=("train", "val", "test"))
    n_obs: int = option(-1, "data", "examples used, -1 for all", check=all_or_at_least(1))
    prefix: str | None = option(None, "data", "text put before every source (default: the configuration's)")
    shuffle_sources: bool = option(
        False, "data", "give each row another row's source: shows how much of the score comes from reading"
    )
    seed: int = option(42, "data", "seed of --shuffle_sources and of sampling", check=between(0, _LARGEST_SEED))

    bs: int = option(64, "search", "examples per batch", check=at_least(1))
    max_tokens_per_batch: int | None = option(
        None,
        "search",
        "in place of --bs: as many examples per batch as fit into so many source tokens, padding included",
        check=at_least(1),
    )
    warm_up: bool = option(False, "search", "do the first batch once before time is taken")
    eval_beams: int | None = option(
        None,
        "search",
        "summaries followed at once (default: the configuration's)",
        check=at_least(1),
        aliases=["num_beams"],
    )
    task: str | None = option(None, "search", "take the search settings of this task in task_specific_params of CONFIG")
    search: dict[str, Any] = field(
        default_factory=dict,
        metadata={
            "group": "search",
            "settings": GenerationConfig,
            "without": _NOT_FOR_TEXT,
            "meanings": SEARCH_MEANINGS,
        },
    )  # the search settings that were given, beside the two that have flags of their own

    device: str = option(
        "auto", "precision", "where to run; auto: a GPU where there is one", choices=("auto", "cpu", "cuda")
    )
    quantization: str | None = option(
        None, "precision", "int8: on a CPU, compute linear layers with 8 bits", choices=("int8",)
    )

    def check(self) -> None:
        super().check()
        if self.quantization is not None and (self.fp16 or self.bf16 or self.tf32):
            raise InputError(f"--quantization {self.quantization}: takes no precision beside it")
