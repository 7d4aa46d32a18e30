"""Summarizing: texts in, summaries out, a few texts at a time."""

import queue
import threading
from collections.abc import Iterator
from typing import IO, Any

import torch

from bart.checkpoints.weights import read_config
from bart.errors import InputError
from bart.generation.arguments import check_call
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.pretrained import load_tokenizer
from ..cli.shared_args import checked_length
from ..data.batch import pad_sources
from ..data.chunking import read_sources
from ..data.line_files import iterate_stream
from ..data.model_vocabulary import smaller_vocabulary, unknown_tokens_text
from ..data.tokens.encode import decode
from ..runtime.hardware import device_of_one_process
from ..runtime.malloc import keep_freed_memory

_END = None  # the reading thread puts it last


class Summarizer:
    """A loaded model with its tokenizer and search settings."""

    def __init__(
        self,
        model: str,
        *,
        search: dict[str, Any],
        batch_size: int,
        max_source_length: int | None = None,
        in_pieces: bool = True,
        device: str = "auto",
    ) -> None:
        """Check the settings, then load the model.

        Args:
            model: A .ckpt, a model.pt, a Hugging Face folder or a hub id.
            search: Search settings that differ from the model's.
            batch_size: The most texts, or pieces of texts, to generate for at once.
            max_source_length: The most tokens to read at once; all positions of the model if None.
            in_pieces: Summarize a longer text piece by piece; otherwise cut it off.
            device: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one.

        Raises:
            InputError: The model cannot be read, or a setting is impossible with it or on this machine.
        """
        self._config = read_config(model)
        longest = max_source_length or self._config.max_position_embeddings
        self._max_source_length = checked_length("max_source_length", longest, self._config)
        check_call(self._config, search)
        self._search, self._batch_size, self._in_pieces = search, batch_size, in_pieces

        self._tokenizer = load_tokenizer(None, model, self._config)
        self._vocabulary = smaller_vocabulary(self._tokenizer, self._config)
        self._device = device_of_one_process(device)
        if self._device == "cpu":
            keep_freed_memory()
        self._model = BartForConditionalGeneration.from_pretrained(model).to(self._device).prepack()
        self._unknown_tokens = 0  # of all texts so far

    def summarize(self, texts: list[str]) -> list[str]:
        """Return a summary of each text, on one line; that of an empty text is empty."""
        sources = read_sources(texts, self._tokenizer, self._max_source_length, self._config.prefix, self._in_pieces)
        tokens = sources.tokens.read_by(self._vocabulary)
        self._unknown_tokens += tokens.count_unknown()

        # A text may have several pieces, so there may be more rows than a batch holds.
        of_pieces: list[list[str]] = []
        for start in range(0, len(tokens), self._batch_size):
            rows = range(start, min(start + self._batch_size, len(tokens)))
            batch = [tokens[row] for row in rows]
            input_ids, mask = pad_sources(batch, self._config.pad_token_id, self._config.max_position_embeddings)
            sequences = self._model.generate(input_ids.to(self._device), mask.to(self._device), **self._search)
            assert isinstance(sequences, torch.Tensor)
            best = decode(sequences, self._tokenizer)[:: len(sequences) // len(rows)]
            of_pieces += [[summary] for summary in best]

        summaries = sources.joined(of_pieces)
        return [summary if text.strip() else "" for text, (summary,) in zip(texts, summaries, strict=True)]

    def remark(self) -> str | None:
        """Say how many tokens of the texts so far the model does not know; None if it knows all of them."""
        return unknown_tokens_text(self._unknown_tokens) if self._unknown_tokens else None


def read_batches(stream: IO[bytes], name: str, size: int, one_text: bool) -> Iterator[list[str]]:
    """Yield the lines of a stream in lists of up to ``size``, or all of it as ``one_text``; ``name`` is for messages.

    Raises:
        InputError: A line is not text; the lines before it have been yielded by then, unless it is one text.
    """
    if one_text:
        yield [" ".join(iterate_stream(stream, name))]
    else:
        yield from _batches_as_they_come(stream, name, size)


def _batches_as_they_come(stream: IO[bytes], name: str, size: int) -> Iterator[list[str]]:
    """Yield lists of up to ``size`` lines: all that can be had without waiting, but at least one.

    A thread reads ahead, so that the next lines are ready when the last ones are summarized.
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
