"""Summarize texts from files or a pipe, and print each summary as soon as it is there, or write them all to a file.

echo "A long text." | python -m utils.commands.summarize results/bart_pyt/best_tfmr -
"""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from bart.errors import InputError

from ..cli.options import to_values
from ..cli.run import run_command
from ..cli.summarize_args import OutputSettings, SummarizeArguments
from ..data.formats.parquet import joint_schema
from ..data.formats.record_writers import JsonLinesWriter, RecordWriter, TextWriter, open_writer, part_of
from ..data.text_inputs import Record, TextInput, find_input
from ..runtime.read_ahead import as_they_come

_MOST_AT_ONCE = 512  # texts that are taken from a pipe, if so many are there


def summarize(arguments: SummarizeArguments) -> None:
    """Write a summary for each text. Raises InputError if a file, the model or a setting is unusable."""
    start = time.perf_counter()
    asked, settings = arguments.inputs, arguments.summarizer
    inputs = [find_input(name, asked.text_column, asked.one_text) for name in asked.file]
    check_files(inputs, asked.text_column, arguments.output)

    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    import torch

    from ..recipes.summarize import Summarizer

    # Whatever can be refused is refused before the first text is read.
    torch.manual_seed(arguments.search.seed)
    summarizer = Summarizer.from_pretrained(
        settings.model,
        tokenizer=settings.tokenizer_name_or_path,
        device=settings.device,
        precision=settings.precision,
        quantization=settings.quantization,
        max_source_length=asked.max_source_length,
        long_documents=asked.long_documents,
        allow_non_finite=settings.allow_non_finite,
        **arguments.search.search,
        **to_values(arguments.rerank),
    )
    batches: dict[str, Any] = {
        "batch_size": arguments.search.bs,
        "max_tokens_per_batch": arguments.search.max_tokens_per_batch,
        "progress": arguments.output.progress,
    }

    # The rows of texts that are being summarized wait here for their summaries.
    rows: deque[Record] = deque()

    def texts() -> Iterator[str]:
        for record in chain.from_iterable(entry.records(arguments.output.has_rows) for entry in inputs):
            rows.append(record)
            yield record.text

    loaded, count = time.perf_counter(), 0
    if any(entry.waits() for entry in inputs):
        # What has come is summarized at once, without waiting for more.
        summaries = chain.from_iterable(summarizer.summarize_lists(as_they_come(texts(), _MOST_AT_ONCE), **batches))
    else:
        summaries = summarizer(texts(), soon=arguments.output.output is None, **batches)
    with open_output(arguments.output, inputs) as output:
        for summary in summaries:
            output.write(rows.popleft().cells, summary)
            count += 1

    # Remarks, which a pipe does not see.
    if (remark := summarizer.remark()) is not None:
        print(f"{', '.join(entry.name for entry in inputs)}: {remark}", file=sys.stderr)
    if arguments.output.output is not None or sys.stderr.isatty():
        seconds = time.perf_counter() - loaded
        speed = f"{count:,} summaries in {seconds:.1f} s: {count / seconds:.2f} per second"
        print(f"{speed}, after {loaded - start:.1f} s to load the model", file=sys.stderr)


def check_files(inputs: Sequence[TextInput], text_column: str | None, output: OutputSettings) -> None:
    """Raise InputError if the rows of the inputs do not fit the output, or each other if it is a table."""
    if text_column is not None and all(entry.text_column is None for entry in inputs):
        raise InputError(f"--text_column {text_column}: no file is a table")
    path = None if output.output is None else Path(output.output)
    if output.has_rows:
        for entry in inputs:
            if output.summary_column in entry.columns:
                raise InputError(
                    f"{entry.name}: has a column {output.summary_column} already; give --summary_column another name"
                )
    if path is None:
        return

    if part_of(path).exists():
        raise InputError(f"{part_of(path)}: is there from a run that was not completed; move or delete it")
    if not path.parent.is_dir():
        raise InputError(f"--output {path}: there is no folder {path.parent}")
    for entry in inputs:
        if entry.path is not None and path.exists() and path.samefile(entry.path):
            raise InputError(f"--output {path}: is read, too; give another name")
        if path.suffix in (".csv", ".tsv", ".parquet") and set(entry.columns) != set(inputs[0].columns):
            raise InputError(
                f"{entry.name}: has other columns than {inputs[0].name}; give --output a name that ends in .jsonl"
            )
    if path.suffix == ".parquet" and (sources := _parquet_files(inputs)):
        joint_schema(sources)


@contextmanager
def open_output(output: OutputSettings, inputs: Sequence[TextInput]) -> Iterator[RecordWriter]:
    """Yield what writes the summaries to the file of --output, or prints them."""
    if output.output is None:
        yield JsonLinesWriter(sys.stdout, output.summary_column) if output.json else TextWriter(sys.stdout)
        return
    sources = _parquet_files(inputs)
    if len(sources) < len(inputs):
        sources = []
    with open_writer(Path(output.output), inputs[0].columns, output.summary_column, sources) as writer:
        yield writer


def _parquet_files(inputs: Sequence[TextInput]) -> list[Path]:
    return [entry.path for entry in inputs if entry.path is not None and entry.is_parquet]


def main() -> int:
    """Run the command line. Ends quietly if the reader of the summaries goes away, as head does."""
    try:
        return run_command(SummarizeArguments, "Summarize texts, one a line.", summarize)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 141


if __name__ == "__main__":
    sys.exit(main())
