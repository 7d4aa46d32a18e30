"""Summarize texts from a file or a pipe, one a line, and print each summary as soon as it is there.

echo "A long text." | python -m utils.commands.summarize results/bart_pyt/best_tfmr -
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bart.errors import InputError

from ..cli.options import at_least, option
from ..cli.run import run_command
from ..cli.shared_args import output_limit


@dataclass(frozen=True)
class SummarizeArguments:
    model: str = option("", "Texts", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    file: str = option("", "Texts", "file with a text on each line; - for standard input", positional=True)
    json: bool = option(False, "Texts", "write JSON Lines with text and summary instead of summaries alone")
    one_text: bool = option(False, "Texts", "read the whole input as one text, whatever lines it has")
    bs: int = option(16, "Search", "texts to summarize at once, if so many have been read", check=at_least(1))
    num_beams: int | None = option(None, "Search", "beams (default: the model's)", check=at_least(1))
    max_length: int | None = option(
        None, "Search", "longest summary, in tokens (default: the model's)", check=at_least(2)
    )
    max_source_length: int | None = option(
        None, "Search", "tokens to read at once (default: all positions of the model)", check=at_least(2)
    )
    long_documents: str = option(
        "chunk", "Search", "summarize a longer text piece by piece, or cut it off", choices=("truncate", "chunk")
    )
    device: str = option("auto", "Search", "auto: a GPU if there is one", choices=("auto", "cpu", "cuda"))

    def check(self) -> None:
        """Nothing to check before the model is read."""


def summarize(arguments: SummarizeArguments) -> None:
    """Print a line for each line of the input. Raises InputError if the file, the model or a setting is unusable."""
    with _open(arguments.file) as stream:
        # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
        from ..recipes.summarize import Summarizer, read_batches

        # Whatever can be refused is refused before the first text is read.
        search: dict[str, Any] = {} if arguments.max_length is None else output_limit(arguments.max_length)
        if arguments.num_beams is not None:
            search["num_beams"] = arguments.num_beams
        summarizer = Summarizer(
            arguments.model,
            search=search,
            batch_size=arguments.bs,
            max_source_length=arguments.max_source_length,
            in_pieces=arguments.long_documents == "chunk",
            device=arguments.device,
        )

        # A batch is printed before the next one is waited for.
        name = "standard input" if arguments.file == "-" else arguments.file
        for texts in read_batches(stream, name, arguments.bs, arguments.one_text):
            for text, summary in zip(texts, summarizer.summarize(texts), strict=True):
                row = {"text": text, "summary": summary}
                print(json.dumps(row, ensure_ascii=False) if arguments.json else summary)
            sys.stdout.flush()
        if (remark := summarizer.remark()) is not None:
            print(f"{name}: {remark}", file=sys.stderr)


@contextmanager
def _open(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115  what fails within the block below is not the file
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give a file with a text on each line, or - for stdin") from error
    with stream:
        yield stream


def main() -> int:
    """Run the command line. Ends quietly if the reader of the summaries goes away, as head does."""
    try:
        return run_command(SummarizeArguments, "Summarize texts, one a line.", summarize)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 141


if __name__ == "__main__":
    sys.exit(main())
