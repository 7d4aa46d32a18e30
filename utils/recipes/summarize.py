"""Summarizing: texts in, summaries out."""

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import starmap
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from torch import Tensor

from bart.checkpoints.weights import read_config
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer

from ..checkpoint.pretrained import load_tokenizer
from ..data.chunking import Sources, read_sources
from ..data.model_vocabulary import smaller_vocabulary, unknown_tokens_text
from ..data.tokens.encode import decode
from ..data.tokens.token_array import TokenStore
from ..evaluation.generate import BatchGenerator, BatchSize, by_source
from ..evaluation.rerank import Reranker
from ..evaluation.token_budget import TokenBudget, find_token_budget
from ..runtime.malloc import FreedMemory, keep_freed_memory
from ..runtime.precision import apply_matmul_precision, evaluation_dtype
from ..runtime.progress import ProgressBar
from ..runtime.read_ahead import read_ahead
from .summarizer_device import choose_device, choose_precision
from .summarizer_plan import CallPlan, FixedSettings, checked_text, override, resolve_search


class Summarizer:
    """A loaded model that summarizes texts: one, a list, or a stream of any length.

    Several threads may share it. They take turns with the model, a list or a part of a stream at a time, and those who
    wait are in no particular order; a server should therefore collect texts into lists, as docs/serving.md shows. A
    process that forks must load it after the fork.
    """

    def __init__(
        self,
        model: BartForConditionalGeneration,
        tokenizer: BartTokenizer,
        *,
        max_source_length: int | None = None,
        long_documents: str = "chunk",
        **search: Any,
    ) -> None:
        """Wrap a model that is in evaluation mode, on its device and, for a CPU, prepacked.

        Args:
            model: The model.
            tokenizer: The model's.
            max_source_length: As for ``from_pretrained``, as are ``long_documents`` and ``search``.

        Raises:
            InputError: A setting is impossible with this model.
        """
        self._settings = FixedSettings.checked(model.config, max_source_length, long_documents, search)
        self._model, self._tokenizer = model, tokenizer
        self._vocabulary = smaller_vocabulary(tokenizer, model.config)
        self._generator = BatchGenerator(model, TokenStore(np.zeros(0, np.uint16), np.zeros(1, np.int64)), {})
        self._budgets: dict[tuple[int, int | None], TokenBudget] = {}  # by beams and longest output
        self._model_lock = threading.Lock()
        self._tokenizer_lock = threading.Lock()  # its backend refuses to be changed while it is in use
        self._unknown_tokens = 0  # of all texts so far

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str],
        *,
        tokenizer: str | os.PathLike[str] | None = None,
        device: str | torch.device = "auto",
        precision: str = "auto",
        quantization: Literal["int8"] | None = None,
        max_source_length: int | None = None,
        long_documents: str = "chunk",
        allow_non_finite: bool = False,
        **search: Any,
    ) -> Self:
        """Check the settings, then load the model.

        On a CPU, memory that is freed stays within the process from then on (see utils/runtime/malloc.py).

        Args:
            model: A .ckpt, a model.pt, a Hugging Face folder or a hub id.
            tokenizer: The folder or hub id of the tokenizer; the model's own if None.
            device: ``cpu``, ``cuda``, ``cuda:1``, or ``auto`` for a GPU if there is one.
            precision: ``fp32``, ``bf16``, ``fp16``, ``tf32`` or ``auto``. On a GPU ``auto`` is bfloat16, which is
                several times as fast as float32 and has its range, so nothing overflows; before Ampere, GPUs have only
                float16. On a CPU it is float32: some processors compute bfloat16 fast, others many times slower.
            quantization: ``int8`` computes linear layers with 8 bits, on a CPU.
            max_source_length: The most tokens to read at once, <s> and </s> included; all positions of the model if
                None.
            long_documents: ``chunk`` summarizes a longer text piece by piece, ``truncate`` cuts it off.
            allow_non_finite: Take weights that are NaN or infinite.
            search: Search settings, as of ``generate``, for the calls that do not give others. The others are the
                model's. And settings of re-ranking: ``rerank="consensus"`` chooses among candidates, with
                ``rerank_utility``, ``rerank_beams``, ``rerank_samples``, ``rerank_temperature`` and
                ``rouge_tokenizer`` as the flags of these names; the utility may be a function of two texts, too.

        Raises:
            InputError: The model cannot be read, or a setting is impossible with it or on this machine.
        """
        # Whatever can be refused is refused before the weights are read.
        place = choose_device(device)
        number_format = choose_precision(precision, quantization, place)
        config = read_config(model)
        FixedSettings.checked(config, max_source_length, long_documents, search)
        name = None if tokenizer is None else os.fspath(tokenizer)
        loaded_tokenizer = load_tokenizer(name, os.fspath(model), config)

        if place.type == "cpu":
            keep_freed_memory()
        apply_matmul_precision(number_format)
        loaded = BartForConditionalGeneration.from_pretrained(model, allow_non_finite=allow_non_finite)
        loaded = loaded.to(place, evaluation_dtype(number_format)).prepack(quantization)
        return cls(
            loaded, loaded_tokenizer, max_source_length=max_source_length, long_documents=long_documents, **search
        )

    # A str is a sequence of str, too: the first form that fits counts.
    @overload
    def __call__(
        self,
        texts: str,
        *,
        progress: bool = ...,
        soon: bool = ...,
        batch_size: int | None = ...,
        max_tokens_per_batch: int | None = ...,
        **search: Any,
    ) -> str: ...
    @overload
    def __call__(
        self,
        texts: Sequence[str],
        *,
        progress: bool = ...,
        soon: bool = ...,
        batch_size: int | None = ...,
        max_tokens_per_batch: int | None = ...,
        **search: Any,
    ) -> list[str]: ...
    @overload
    def __call__(
        self,
        texts: Iterable[str],
        *,
        progress: bool = ...,
        soon: bool = ...,
        batch_size: int | None = ...,
        max_tokens_per_batch: int | None = ...,
        **search: Any,
    ) -> Iterator[str]: ...
    def __call__(
        self,
        texts: str | Iterable[str],
        *,
        progress: bool = False,
        soon: bool = True,
        batch_size: int | None = None,
        max_tokens_per_batch: int | None = None,
        **search: Any,
    ) -> str | list[str] | Iterator[str]:
        """Summarize one text, a list or a stream.

        Texts are searched in batches of similar length. A batch takes as many as memory and speed allow (see
        utils/evaluation/token_budget.py), unless one of the two arguments says how many; one that does not fit into
        memory is halved. The size of batches has an effect on rounding: give ``batch_size`` for the same summaries on
        other GPUs. Sampling (``do_sample``, ``rerank``) draws from torch's generator: ``torch.manual_seed`` repeats it.

        Args:
            texts: A text; a sequence of texts; or any other iterable of texts, which may have no end. Of these, a
                thread reads what the next few batches need while the model works, and not more. A line break within a
                text is white space like any other.
            progress: Show a bar on stderr.
            soon: Give the first summaries of a stream as soon as a batch is done, instead of sorting many texts by
                length at once, as later on. The first batches are then less even, so some more are needed.
            batch_size: Texts, or pieces of long texts, to search at once.
            max_tokens_per_batch: Source tokens to search at once, padding included. It replaces ``batch_size``.
            search: Search settings as of ``generate``, which counts every token of an output in ``max_length``; and
                those of re-ranking. ``rerank="none"`` ends it for this call.

        Returns:
            The summary of a text, each on one line: a str for a str, a list for a sequence, an iterator for another
            iterable. Order is kept. The summary of an empty text is empty.

        Raises:
            InputError: A setting is impossible, before any text is read; ``num_return_sequences`` must be 1. Or a text
                is no str or holds half a character; a stream gives the summaries of those before it first.
            OutOfMemory: A single text does not fit into memory.
        """
        plan = self._plan(batch_size, max_tokens_per_batch, search)
        if isinstance(texts, Sequence):
            with _bar(progress) as bar:
                summaries = self._summarize(self._read([texts] if isinstance(texts, str) else texts), plan, bar)
            return summaries[0] if isinstance(texts, str) else summaries
        lists = self._stream(plan.pools(starmap(checked_text, enumerate(texts)), soon), plan, _bar(progress))
        return (summary for summaries in lists for summary in summaries)

    def summarize_lists(
        self,
        lists: Iterable[Sequence[str]],
        *,
        progress: bool = False,
        batch_size: int | None = None,
        max_tokens_per_batch: int | None = None,
        **search: Any,
    ) -> Iterator[list[str]]:
        """Summarize lists of texts, each as soon as it is there.

        While the model works on a list, a thread gets the next one and makes its tokens. Only texts of one list are
        sorted by length, so lists should be long enough for several batches if they can. Arguments and errors are those
        of a call.
        """
        plan = self._plan(batch_size, max_tokens_per_batch, search)
        return self._stream(lists, plan, _bar(progress))

    def remark(self) -> str | None:
        """Say how many tokens of the texts so far the model does not know; None if it knows all of them."""
        return unknown_tokens_text(self._unknown_tokens) if self._unknown_tokens else None

    def _plan(self, batch_size: int | None, max_tokens: int | None, search: Mapping[str, Any]) -> CallPlan:
        """Check the arguments of a call, and decide what the batches are."""
        for name, value in (("batch_size", batch_size), ("max_tokens_per_batch", max_tokens)):
            if value is not None and (not isinstance(value, int) or value < 1):
                raise InputError(f"--{name} {value}: give a number from 1 up")
        settings = override(self._settings.search, search)
        chosen, resolved, reranker = resolve_search(self._model.config, settings)
        if batch_size is not None or max_tokens is not None:
            return CallPlan(BatchSize(batch_size or 1, max_tokens), chosen, reranker)
        key = (resolved.num_beams, resolved.max_length)
        if key not in self._budgets:
            device = self._model.final_logits_bias.device
            self._budgets[key] = find_token_budget(self._model.config, resolved, self._model.dtype, device)
        return CallPlan(self._budgets[key], chosen, reranker)

    def _stream(self, lists: Iterable[Sequence[str]], plan: CallPlan, bar: ProgressBar) -> Iterator[list[str]]:
        freed = FreedMemory()
        with closing(read_ahead(map(self._read, lists))) as read, bar:
            for documents in read:
                yield self._summarize(documents, plan, bar)
                freed.trim_if_due()

    def _read(self, texts: Sequence[str]) -> "_Documents":
        """Make the tokens of texts. Raises InputError as a call does."""
        if isinstance(texts, str):
            raise InputError(f"lists: one of them is the text {texts[:60]!r}; give lists of texts")
        places = [place for place, text in enumerate(texts) if checked_text(place, text).strip()]
        if not places:
            return _Documents(len(texts), [], None)
        settings, config = self._settings, self._model.config
        with self._tokenizer_lock:
            documents = [texts[place] for place in places]
            sources = read_sources(
                documents, self._tokenizer, settings.max_source_length, config.prefix, settings.in_pieces
            )
            sources.tokens = sources.tokens.read_by(self._vocabulary)
            self._unknown_tokens += sources.tokens.count_unknown()
        return _Documents(len(texts), places, sources)

    def _summarize(self, documents: "_Documents", plan: CallPlan, bar: ProgressBar) -> list[str]:
        """Return the summaries of all documents, in their order."""
        summaries = [""] * documents.count
        if documents.sources is None:
            return summaries

        # A thread decodes tokens while the device works on the next batch.
        tokens = documents.sources.tokens
        written: list[tuple[np.ndarray, Future[list[str]]]] = []
        with self._model_lock, ThreadPoolExecutor(1) as writer:
            self._generator.read(tokens, plan.search, plan.reranker)
            for batch in plan.batches.batches(tokens.lengths):
                for rows, sequences, _ in self._generator.search(batch):
                    written.append((rows, writer.submit(self._decode, sequences, len(rows), plan.reranker)))
                    bar.update(len(rows))

        # Join the pieces of each document.
        of_rows: list[list[str]] = [[]] * len(tokens)
        for rows, future in written:
            for row, text in zip(rows.tolist(), future.result(), strict=True):
                of_rows[row] = [text]
        for place, (summary,) in zip(documents.places, documents.sources.joined(of_rows), strict=True):
            summaries[place] = summary
        return summaries

    def _decode(self, sequences: Tensor, count: int, reranker: Reranker | None) -> list[str]:
        """Return the summaries of ``count`` sources."""
        with self._tokenizer_lock:
            texts = decode(sequences, self._tokenizer)
        if reranker is None:
            return texts
        candidates = by_source(texts, count)
        return [of_source[place] for of_source, place in zip(candidates, reranker.choose(candidates), strict=True)]


@dataclass(frozen=True)
class _Documents:
    """The tokens of some texts."""

    count: int  # of the texts
    places: list[int]  # of those that are not empty
    sources: Sources | None  # of these; None if all are empty


def _bar(progress: bool) -> ProgressBar:
    """Return a progress bar, which does nothing if no progress is asked for."""
    return ProgressBar(desc="summarizing", unit="seq", dynamic_ncols=True, disable=not progress)
