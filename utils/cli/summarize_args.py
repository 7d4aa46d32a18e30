"""The command line of summarize.sh, in groups."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bart.configuration.generation_config import GenerationConfig
from bart.errors import InputError

from .options import at_least, between, option
from .rerank_args import RerankAloneSettings
from .shared_args import LARGEST_SEED, LONG_DOCUMENTS, QUANTIZATIONS, PretrainedSettings

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "tf32")
OUTPUT_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")


@dataclass(frozen=True)
class SummarizerSettings(PretrainedSettings):
    """The model, and how it computes."""

    model: str = option("", "model", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    device: str = option(
        "auto", "precision", "device to run on; auto: a GPU if there is one", choices=("auto", "cpu", "cuda")
    )
    precision: str = option(
        "auto",
        "precision",
        "fp32, bf16, fp16 or tf32; auto: on a GPU bf16, or fp16 if it has no bf16; on a CPU fp32",
        choices=PRECISIONS,
    )
    quantization: str | None = option(
        None, "precision", "int8: compute linear layers with 8 bits, on a CPU", choices=QUANTIZATIONS
    )


@dataclass(frozen=True)
class InputSettings:
    """The texts to summarize."""

    file: tuple[str, ...] = option(
        (),
        "data",
        "files with a text on each line, or tables (.csv, .tsv, .jsonl, .json, .parquet); - for standard input",
        positional=True,
    )
    text_column: str | None = option(
        None, "data", "column of the texts in tables (default: a usual name, such as article, document or text)"
    )
    one_text: bool = option(False, "data", "read each file as one text, whatever lines it has")
    max_source_length: int | None = option(
        None, "data", "tokens to read at once (default: all positions of the model)", check=at_least(2)
    )
    long_documents: str = option(
        "chunk", "data", "summarize a longer text piece by piece, or cut it off", choices=LONG_DOCUMENTS
    )


@dataclass(frozen=True)
class SearchSettings:
    """The search, and its batches."""

    bs: int | None = option(
        None, "search", "texts to search at once (default: as many as suit memory and lengths)", check=at_least(1)
    )
    max_tokens_per_batch: int | None = option(
        None, "search", "source tokens to search at once, padding included; replaces --bs", check=at_least(1)
    )
    seed: int = option(42, "search", "seed of sampling", check=between(0, LARGEST_SEED))
    search: dict[str, Any] = field(
        default_factory=dict, metadata={"heading": "search", "settings": GenerationConfig}
    )  # the search settings that were given


@dataclass(frozen=True)
class OutputSettings:
    """Where the summaries go."""

    output: str | None = option(
        None, "output", f"file to write ({', '.join(OUTPUT_SUFFIXES)}), with all columns (default: print summaries)"
    )
    summary_column: str = option("summary", "output", "name of the column of summaries in the output")
    json: bool = option(False, "output", "print JSON Lines with the row and its summary instead of summaries alone")
    progress: bool = option(False, "output", "show a progress bar on standard error")

    @property
    def has_rows(self) -> bool:
        """Whether the rows of tables are written, too, and not the summaries alone."""
        return self.json or (self.output is not None and Path(self.output).suffix != ".txt")


@dataclass(frozen=True)
class SummarizeArguments:
    """The command line of summarize.sh."""

    summarizer: SummarizerSettings = field(default_factory=SummarizerSettings)
    inputs: InputSettings = field(default_factory=InputSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    rerank: RerankAloneSettings = field(default_factory=RerankAloneSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    def check(self) -> None:
        """Raise InputError, naming the flags, if a combination is impossible."""
        self.rerank.check()
        output = self.output.output
        if output is not None and Path(output).suffix not in OUTPUT_SUFFIXES:
            raise InputError(f"--output {output}: give a name that ends in {', '.join(OUTPUT_SUFFIXES)}")
        if output is not None and self.output.json:
            raise InputError(f"--json and --output {output} exclude each other; for JSON give a name with .jsonl")
