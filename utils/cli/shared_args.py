"""Groups of settings that training and evaluation share."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from .options import at_least, option

LONG_DOCUMENTS = ("truncate", "chunk")
QUANTIZATIONS = ("int8",)
ROUGE_TOKENIZERS = ("ascii", "unicode")
MOST_POSITIONS = 16_384  # of --max_positions: those of LED
LARGEST_SEED = 2**31 - 1  # each process adds its rank; numpy's limit is twice as high
DATA_DIR_HELP = (
    "folder with {train,val,test}.{source,target}, one example per line, or with tables {train,val,test}"
    ".{csv,tsv,jsonl,json,parquet}; or a data set of the hub: OWNER/NAME[@REVISION][:CONFIG]"
)
SPLIT_HELP = (
    "shares of train, val and test, such as 0.9,0.05,0.05: divide the train split, the only one there, by a hash of the"
    " text (the data folder may then be a table itself)"
)
ALLOW_NON_FINITE_HELP = "take a model with weights that are NaN or infinite, which writes nonsense, to look into it"
Shares = tuple[float, float, float]  # of train, val and test


def three_shares(text: str) -> str | None:
    """Check that a text is shares of train, val and test. This function is itself a ``Check``."""
    advice = "give the shares of train, val and test, which add up to 1, such as 0.9,0.05,0.05 (test may get 0)"
    try:
        train, val, test = map(float, text.split(","))
    except ValueError:
        return advice
    valid = train > 0 and val > 0 and test >= 0 and math.isclose(train + val + test, 1, abs_tol=1e-6)
    return None if valid else advice


def shares_of(text: str | None) -> Shares | None:
    """Return the shares that a valid --split gives, or None if it is not given."""
    if text is None:
        return None
    train, val, test = map(float, text.split(","))
    return train, val, test


@dataclass(frozen=True)
class TableSettings:
    """Columns of the texts in tables, and the division of a table."""

    text_column: str | None = option(
        None, "data", "column of the texts in tables (default: a usual name, such as article, document or text)"
    )
    summary_column: str | None = option(
        None, "data", "column of the summaries in tables (default: a usual name, such as highlights or summary)"
    )
    split: str | None = option(None, "data", SPLIT_HELP, check=three_shares, fixed=True)


@dataclass(frozen=True)
class TextSettings(TableSettings):
    """Columns of the texts in tables, and limits on tokens."""

    max_source_length: int | None = option(
        None,
        "data",
        "maximum number of tokens read of a source, including <s> and </s> (default: the configuration's"
        " max_position_embeddings)",
        check=at_least(2),
        fixed=True,
    )
    max_target_length: int | None = option(
        None,
        "data",
        "maximum number of tokens learnt of a target and written for a summary (default: the configuration's"
        " max_length)",
        check=at_least(2),
        fixed=True,
    )

    def with_lengths_of(self, config: BartConfig) -> Self:
        """Return these settings with all lengths set. Raises InputError if one exceeds the model's positions."""
        positions = config.max_position_embeddings
        return replace(
            self,
            max_source_length=checked_length("max_source_length", self.max_source_length or positions, config),
            max_target_length=checked_length(
                "max_target_length", self.max_target_length or config.longest_output(positions), config
            ),
        )


@dataclass(frozen=True)
class PretrainedSettings:
    """What to read with a model, and what to take from it."""

    tokenizer_name_or_path: str | None = option(
        None, "model", "folder or hub id of the tokenizer (default: the model's own)"
    )
    allow_non_finite: bool = option(False, "model", ALLOW_NON_FINITE_HELP)


@dataclass(frozen=True)
class RougeSettings:
    """The words of ROUGE."""

    rouge_tokenizer: str = option(
        "ascii",
        "scores",
        "words that ROUGE compares; ascii: runs of ASCII letters and digits, as rouge-score has them; unicode: words of"
        " any script, and characters of Chinese, Japanese, Thai and the like",
        choices=ROUGE_TOKENIZERS,
        fixed=True,
    )


@dataclass(frozen=True)
class BertScoreSettings:
    """BERTScore of the summaries."""

    bertscore: str | None = option(
        None, "scores", "folder or hub id of a BERT: score the summaries by BERTScore with it, too"
    )
    bertscore_layer: int | None = option(
        None, "scores", "layer whose vectors BERTScore compares (default: the last one)", check=at_least(1)
    )

    def check_bertscore(self) -> None:
        """Raise InputError if a layer is given without a model."""
        if self.bertscore_layer is not None and self.bertscore is None:
            raise InputError(f"--bertscore_layer {self.bertscore_layer}: has no effect without --bertscore")


@dataclass(frozen=True)
class RougeLsumSettings(RougeSettings):
    """The words of ROUGE, and the sentences of ROUGE-Lsum."""

    rouge_sentence_splitter: str = option(
        "period",
        "scores",
        "end of a sentence for ROUGE-Lsum; period: `. `, the reference's rule; nupunkt: a trained splitter; newline",
        choices=("period", "nupunkt", "newline"),
    )


@dataclass(frozen=True)
class SummarySettings(RougeLsumSettings):
    """Writing of summaries, and their comparison with the targets."""

    long_documents: str = option(
        "truncate",
        "search",
        "if a source to summarize is longer than --max_source_length: cut off the rest, or summarize it in pieces",
        choices=LONG_DOCUMENTS,
    )
    eval_max_gen_length: int | None = option(
        None,
        "search",
        "maximum number of tokens of a generated summary (default: --max_target_length)",
        check=at_least(2),
        aliases=["max_length"],
    )

    def with_longest_summary(self, max_target_length: int, config: BartConfig) -> Self:
        """Return the same with the longest summary set. Raises InputError if it exceeds the model's positions."""
        longest = self.eval_max_gen_length or max_target_length
        return replace(self, eval_max_gen_length=checked_length("eval_max_gen_length", longest, config))


@dataclass(frozen=True)
class PrecisionSettings:
    """The precision of the computation; float32 if no flag is given."""

    fp16: bool = option(False, "precision", "half precision: float16 (needs a GPU)", fixed=True)
    bf16: bool = option(False, "precision", "half precision: bfloat16 (CPU, or GPU since Ampere)", fixed=True)
    tf32: bool = option(False, "precision", "float32 with TF32 matrix products (GPU since Ampere)", fixed=True)

    @property
    def name(self) -> str:
        """Return fp16, bf16, tf32 or fp32: the name that scripts and reports use."""
        return next((name for name in ("fp16", "bf16", "tf32") if getattr(self, name)), "fp32")

    def check(self) -> None:
        """Raise InputError if two precisions are given."""
        chosen = [name for name in ("fp16", "bf16", "tf32") if getattr(self, name)]
        if len(chosen) > 1:
            raise InputError(f"--{chosen[0]} and --{chosen[1]} exclude each other; give one of them")


@dataclass(frozen=True)
class ProcessSettings:
    """Settings of processes that work together."""

    cpu_affinity: bool = option(True, "precision", "run each process on the CPU cores near its GPU")
    timeout: int = option(
        300, "precision", "seconds that a process waits for another one before it gives up", check=at_least(1)
    )


def checked_length(name: str, length: int, config: BartConfig) -> int:
    """Return the length. Raises InputError, naming its flag, if it exceeds the model's positions."""
    positions = config.max_position_embeddings
    if length > positions:
        more = f", or train it with finetune.py --max_positions {length}" if length <= MOST_POSITIONS else ""
        raise InputError(f"--{name} {length}: the model has {positions} positions; give {positions} or less{more}")
    return length


def output_limit(tokens: int) -> dict[str, Any]:
    """Return search settings that limit outputs to ``tokens`` tokens, whatever the configuration says."""
    return {"max_length": tokens, "max_new_tokens": None}
