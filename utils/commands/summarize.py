"""Texts in, summaries out: one text a line, from a file or a pipe, each summary as soon as it is there.

echo "A long text." | python -m utils.commands.summarize results/bart_pyt/best_tfmr
"""

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bart.errors import InputError

from ..cli.options import at_least, option
from ..cli.run import run_command
from ..cli.shared_args import output_limit
from ..data.line_files import iterate_stream

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

_END = None  # what the reading thread puts last


@dataclass
class SummarizeArguments:
    model: str = option("", "Texts", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    file: str = option("", "Texts", "file with a text on each line; - for standard input", positional=True)
    json: bool = option(False, "Texts", "write JSON Lines with text and summary, instead of summaries")
    one_text: bool = option(False, "Texts", "all of the input is one text, whatever lines it has")
    bs: int = option(16, "Search", "texts summarized at once, where so many have been read", check=at_least(1))
    num_beams: int | None = option(None, "Search", "beams (default: the model's)", check=at_least(1))
    max_length: int | None = option(
        None, "Search", "tokens of a summary at most (default: the model's)", check=at_least(2)
    )
    max_source_length: int | None = option(
        None, "Search", "tokens read at once (default: the model's positions)", check=at_least(2)
    )
    long_documents: str = option(
        "chunk", "Search", "a longer text is summarized in pieces, or cut", choices=("truncate", "chunk")
    )
    device: str = option("auto", "Search", "auto: a GPU where there is one", choices=("auto", "cpu", "cuda"))

    def check(self) -> None:
        """What the model allows is seen when it is there."""


def summarize(arguments: SummarizeArguments) -> None:
    """Write a line for each line. Raises InputError where the file, the model or a setting cannot be used."""
    with _open(arguments.file) as stream:
        write_summaries(arguments, stream)


def write_summaries(arguments: SummarizeArguments, stream: IO[bytes]) -> None:
    """Read, summarize and print; an empty text has an empty summary."""
    import torch

    from bart.checkpoints.weights import read_config
    from bart.generation.arguments import check_call
    from bart.modeling.modeling_bart import BartForConditionalGeneration

    from ..checkpoint.pretrained import load_tokenizer
    from ..data.chunking import read_sources
    from ..data.examples import decode, pad_sources
    from ..data.model_vocabulary import smaller_vocabulary, unknown_tokens_text
    from ..runtime.malloc import keep_freed_memory

    config = read_config(arguments.model)
    length = arguments.max_source_length or config.max_position_embeddings
    if length > config.max_position_embeddings:
        raise InputError(f"--max_source_length {length}: the model has {config.max_position_embeddings} positions")
    search: dict[str, Any] = {} if arguments.max_length is None else output_limit(arguments.max_length)
    if arguments.num_beams is not None:
        search["num_beams"] = arguments.num_beams
    check_call(config, search)
    tokenizer = load_tokenizer(None, arguments.model, config)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    elif device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no GPU that torch can use; give cpu or auto")
    if device == "cpu":
        keep_freed_memory()
    model = BartForConditionalGeneration.from_pretrained(arguments.model).to(device).prepack()
    name = "standard input" if arguments.file == "-" else arguments.file
    if arguments.one_text:
        batches = iter([[" ".join(iterate_stream(stream, name))]])
    else:
        batches = batches_as_they_come(stream, name, arguments.bs)
    vocabulary = smaller_vocabulary(tokenizer, config)
    unknown = 0
    for texts in batches:
        sources = read_sources(texts, tokenizer, length, config.prefix, arguments.long_documents == "chunk")
        tokens = sources.tokens.read_by(vocabulary)
        unknown += tokens.count_unknown()
        summaries: list[list[str]] = []
        for start in range(0, len(tokens), arguments.bs):  # of pieces there may be more than texts
            rows = range(start, min(start + arguments.bs, len(tokens)))
            batch = [tokens[row] for row in rows]
            input_ids, mask = pad_sources(batch, config.pad_token_id, config.max_position_embeddings)
            sequences = model.generate(input_ids.to(device), mask.to(device), **search)
            summaries += [[summary] for summary in decode(sequences, tokenizer)[:: len(sequences) // len(rows)]]
        for text, (summary,) in zip(texts, sources.joined(summaries), strict=True):
            summary = summary if text.strip() else ""
            print(json.dumps({"text": text, "summary": summary}, ensure_ascii=False) if arguments.json else summary)
        sys.stdout.flush()
    if unknown:
        print(f"{name}: {unknown_tokens_text(unknown)}", file=sys.stderr)


def batches_as_they_come(stream: IO[bytes], name: str, size: int) -> Iterator[list[str]]:
    """Lists of up to ``size`` lines: of as many as can be had without waiting, but of one at least.

    A thread reads ahead, so that the next lines are there when the last ones are summarized. Raises InputError as
    iterate_stream does, after the lines before.
    """
    lines: queue.Queue[str | InputError | None] = queue.Queue(maxsize=4 * size)

    def read() -> None:
        try:
            for line in iterate_stream(stream, name):
                lines.put(line)
            lines.put(_END)
        except InputError as error:
            lines.put(error)

    threading.Thread(target=read, daemon=True).start()
    last: str | InputError | None = ""
    while isinstance(last, str):
        batch = []
        last = lines.get()
        while isinstance(last, str):
            batch.append(last)
            if len(batch) == size or lines.empty():
                break
            last = lines.get()
        if batch:
            yield batch
    if isinstance(last, InputError):
        raise last


@contextmanager
def _open(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with Path(file).open("rb") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; give a file with a text on each line, or -") from error


def main() -> int:
    """Run the command line; a reader that goes away (head) ends it quietly."""
    try:
        return run_command(SummarizeArguments, "Summarize texts, one a line.", summarize)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it ends
        return 141


if __name__ == "__main__":
    sys.exit(main())
