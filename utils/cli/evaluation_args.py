"""The command line of run_eval.py, in groups."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError

from .options import all_or_at_least, at_least, between, option
from .rerank_args import RerankSettings
from .shared_args import (
    DATA_DIR_HELP,
    LARGEST_SEED,
    QUANTIZATIONS,
    BertScoreSettings,
    PrecisionSettings,
    PretrainedSettings,
    ProcessSettings,
    SummarySettings,
    TextSettings,
)


@dataclass(frozen=True)
class EvaluatedModel(PretrainedSettings):
    """The model to evaluate."""

    model: str = option("", "model", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    config: str = option("", "model", "JSON configuration with the search settings and the prefix", positional=True)


@dataclass(frozen=True)
class EvaluatedTexts(TextSettings):
    """The split to evaluate."""

    data_dir: str = option("", "data", DATA_DIR_HELP, positional=True)
    type_path: str = option("test", "data", "split to evaluate", choices=("train", "val", "test"))
    n_obs: int = option(-1, "data", "number of examples to evaluate, -1 for all", check=all_or_at_least(1))
    prefix: str | None = option(None, "data", "text to put before every source (default: the configuration's)")
    shuffle_sources: bool = option(
        False, "data", "give each target another example's source: shows how much of the score comes from reading it"
    )
    seed: int = option(42, "data", "seed of --shuffle_sources and of sampling", check=between(0, LARGEST_SEED))


@dataclass(frozen=True)
class BatchSettings(SummarySettings):
    """Writing of summaries, and its batches."""

    bs: int = option(64, "search", "examples per batch", check=at_least(1))
    max_tokens_per_batch: int | None = option(
        None,
        "search",
        "maximum number of source tokens per batch, including padding; replaces --bs",
        check=at_least(1),
    )


@dataclass(frozen=True)
class GenerationSettings(BatchSettings, BertScoreSettings):
    """Search for summaries, and its batches."""

    warm_up: bool = option(False, "search", "run the first batch once before the time is measured")
    eval_beams: int | None = option(
        None,
        "search",
        "beams of the search; 1 is greedy search (default: the configuration's)",
        check=at_least(1),
        aliases=["num_beams"],
    )
    task: str | None = option(None, "search", "use the search settings of this task in task_specific_params of CONFIG")
    search: dict[str, Any] = field(
        default_factory=dict, metadata={"heading": "search", "settings": GenerationConfig}
    )  # the search settings that were given, except for --eval_beams and --eval_max_gen_length


@dataclass(frozen=True)
class DeviceSettings(PrecisionSettings):
    """The device, and the precision of its computation."""

    device: str = option(
        "auto", "precision", "device to run on; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
    )
    quantization: str | None = option(
        None, "precision", "int8: compute linear layers with 8 bits, on a CPU", choices=QUANTIZATIONS
    )

    @property
    def name(self) -> str:
        """Return int8, fp16, bf16, tf32 or fp32: the name that scripts and reports use."""
        return self.quantization or super().name

    def check(self) -> None:
        """Raise InputError if two precisions, or a precision and a quantization, are given."""
        super().check()
        if self.quantization is not None and (self.fp16 or self.bf16 or self.tf32):
            raise InputError(f"--quantization {self.quantization} and --{super().name} exclude each other; give one")


@dataclass(frozen=True)
class EvaluationArguments:
    """The command line of run_eval.py."""

    model: EvaluatedModel = field(default_factory=EvaluatedModel)
    texts: EvaluatedTexts = field(default_factory=EvaluatedTexts)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    rerank: RerankSettings = field(default_factory=RerankSettings)
    precision: DeviceSettings = field(default_factory=DeviceSettings)
    processes: ProcessSettings = field(default_factory=ProcessSettings)
    save_path: str = option("", "output", "folder for the summaries and the scores", positional=True)
    resume: bool = option(
        False, "output", "go on from the journal that an interrupted evaluation has left in SAVE_PATH, if there is one"
    )
    discard_other_journal: bool = option(
        False, "output", "with --resume: delete a journal of another evaluation, with a warning, instead of refusing it"
    )

    def with_lengths_of(self, config: BartConfig) -> Self:
        """Return these arguments with all lengths set. Raises InputError if one exceeds the model's positions."""
        texts = self.texts.with_lengths_of(config)
        generation = self.generation.with_longest_summary(texts.max_target_length, config)
        return replace(self, texts=texts, generation=generation)

    def check(self) -> None:
        """Raise InputError, naming the flags, if a combination is impossible."""
        self.precision.check()
        self.rerank.check()
        self.generation.check_bertscore()
