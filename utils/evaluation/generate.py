"""Generate the summaries of many sources: batches of similar length, halved if they do not fit into memory."""

import hashlib
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from bart.errors import OutOfMemory
from bart.generation.cuda_graphs import CudaGraphCache
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.out_of_memory import is_out_of_memory

from ..data.batch import pad_sources
from ..data.batch_sampler import batches_by_length, batches_by_tokens
from ..data.tokens.encode import decode
from ..data.tokens.token_array import TokenStore
from ..runtime.evaluation_group import EvaluationGroup
from ..runtime.gpu_memory import free_unused_memory
from ..runtime.progress import ProgressBar
from .degenerate_outputs import repeats_special_tokens
from .journal import Journal, Row
from .rerank import Reranker

_MOST_PENDING = 2  # batches that wait to be decoded: at a signal they still are, and go into the journal


@dataclass
class BatchSize:
    """The number of sources that are searched at once."""

    rows: int
    tokens: int | None = None  # at most so many tokens, padding included; ``rows`` is then ignored

    def batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Return the rows of each batch, the longest sources first."""
        return batches_by_length(lengths, self.rows) if self.tokens is None else batches_by_tokens(lengths, self.tokens)


@dataclass
class Generations:
    """Summaries, by row of the sources."""

    rows: dict[int, Row]

    @property
    def texts(self) -> dict[int, list[str]]:
        """Return the texts of each row: num_return_sequences, best first."""
        return {number: row.texts for number, row in self.rows.items()}

    @property
    def repeating(self) -> set[int]:
        """Return the rows whose best sequence repeats special tokens."""
        return {number for number, row in self.rows.items() if row.repeats}

    @property
    def seconds(self) -> list[float]:
        """Return the time of each batch."""
        return [row.batch_seconds for row in self.rows.values() if row.batch_seconds is not None]

    @property
    def longest_seconds(self) -> float:
        """Return the time that the process with the longest time took for all of its batches."""
        of_processes: dict[int, float] = {}
        for row in self.rows.values():
            of_processes[row.rank] = of_processes.get(row.rank, 0.0) + (row.batch_seconds or 0.0)
        return max(of_processes.values())


def generate(
    model: BartForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    sources: TokenStore,
    batch_size: BatchSize,
    search: dict[str, Any],
    group: EvaluationGroup,
    warm_up: bool = False,
    journal: Journal | None = None,
    seed: int | None = None,
    reranker: Reranker | None = None,
) -> Generations:
    """Summarize this process's share of the sources, in batches of similar length.

    The batches depend neither on the number of processes nor on what is known already, and so no rounding does: if a
    row of a batch is missing, the whole batch is generated. A batch that does not fit into memory is halved, and later
    batches are kept as small.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: decodes the summaries.
        sources: the tokens of all sources.
        batch_size: how many sources to search at once.
        search: search settings that differ from the model's configuration.
        group: the processes that share the sources.
        warm_up: generate the first batch once before the clock starts.
        journal: has the rows that are known, and takes the others as soon as they are decoded; None if there is none.
        seed: of each batch, if the search draws at random; None leaves it to torch's global generator.
        reranker: searches instead, for candidates of each source, and chooses among them: a row then has the text that
            is chosen and that of the plain search.

    Returns:
        The rows that this process knows from the journal or has generated.

    Raises:
        OutOfMemory: a single source does not fit into memory.
        InputError: the journal cannot be written.
    """
    known = set() if journal is None else journal.known_to_all
    missing = [batch for batch in batch_size.batches(sources.lengths) if not known.issuperset(batch.tolist())]
    batches = missing[group.rank :: group.count]
    searcher = BatchGenerator(model, sources, search, seed, reranker)
    generated: dict[int, Row] = {} if journal is None else dict(journal.known)

    def keep(rows: np.ndarray, sequences: Tensor, seconds: float) -> None:
        """Decode the summaries of a batch, choose among candidates, and write them down."""
        texts = by_source(decode(sequences, tokenizer), len(rows))
        best = torch.zeros(len(rows), dtype=torch.long)
        if reranker is not None:
            best = torch.tensor(reranker.choose(texts))
            texts = [[of_row[place], of_row[0]] for of_row, place in zip(texts, best.tolist(), strict=True)]
        per_row = len(sequences) // len(rows)
        repeats = repeats_special_tokens(sequences[best + per_row * torch.arange(len(rows))], tokenizer).tolist()
        times = [*[None] * (len(rows) - 1), seconds]
        fields = zip(texts, repeats, times, strict=True)
        new = dict(zip(rows.tolist(), (Row(*values, group.rank) for values in fields), strict=True))
        generated.update(new)
        if journal is not None:
            journal.append(new)

    if warm_up and batches:
        for _ in searcher.search(batches[0]):
            pass

    # A thread decodes tokens while the device works on the next batch.
    with _progress(sum(map(len, batches)), group.rank) as progress, ThreadPoolExecutor(1) as writer:
        pending: deque[Future[None]] = deque()
        for batch in batches:
            for rows, sequences, seconds in searcher.search(batch):
                pending.append(writer.submit(keep, rows, sequences, seconds))
                while pending and (pending[0].done() or len(pending) > _MOST_PENDING):
                    pending.popleft().result()  # raises what went wrong, such as a full disk
                progress.update(len(rows))
                group.batch_done()
        for future in pending:
            future.result()
    return Generations(generated)


class BatchGenerator:
    """Generates for batches of sources, and halves those that do not fit into memory."""

    def __init__(
        self,
        model: BartForConditionalGeneration,
        sources: TokenStore,
        search: dict[str, Any],
        seed: int | None = None,
        reranker: Reranker | None = None,
    ) -> None:
        """Take what ``generate`` takes. With a ``reranker`` the sequences of a source are its candidates."""
        self._model, self._sources, self._settings, self._seed = model, sources, search, seed
        self._reranker = reranker
        self._device = model.final_logits_bias.device
        self._graphs = CudaGraphCache()
        self._most_tokens: int | None = None  # in a batch, padding included; known once a batch was too large

    def read(self, sources: TokenStore, search: dict[str, Any], reranker: Reranker | None = None) -> None:
        """Take other sources and settings. The graphs stay, and so does what is known of the memory if it applies."""
        before, now = ((None if each is None else each.facts) for each in (self._reranker, reranker))
        self._most_tokens = self._most_tokens if search == self._settings and now == before else None
        self._sources, self._settings, self._reranker = sources, search, reranker

    def search(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Tensor, float]]:
        """Search a batch, in as few parts as fit into memory.

        Yields:
            The rows of a part, their sequences on the CPU, and the seconds that the search took.
        """
        pending = [rows]
        while pending:
            part = pending.pop(0)
            if self._is_known_to_be_too_large(part):
                pending = [*_halves(part), *pending]
                continue
            # After a failure, first free the captured graphs of earlier searches; halve the batch if there were none.
            held_memory = self._graphs.is_filled
            start = time.perf_counter()
            sequences = self._generate_if_it_fits(part)
            if sequences is None:
                self._free_memory()
                if not held_memory:
                    self._back_off(part)
                pending.insert(0, part)
                continue
            yield part, sequences, time.perf_counter() - start

    def _generate_if_it_fits(self, rows: np.ndarray) -> Tensor | None:
        try:
            return self._generate(rows)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _generate(self, rows: np.ndarray) -> Tensor:
        config = self._model.config
        tokens = [self._sources[row] for row in rows]
        input_ids, attention_mask = pad_sources(tokens, config.pad_token_id, config.max_position_embeddings)
        is_padded = not bool(attention_mask.all())  # read here, where no GPU has to be waited for
        tensors = [tensor.to(self._device, non_blocking=True) for tensor in (input_ids, attention_mask)]
        if self._seed is not None:
            torch.manual_seed(_mixed(self._seed, int(rows[0])))
        if self._reranker is None:
            sequences = self._model.generate(*tensors, is_padded=is_padded, graphs=self._graphs, **self._settings)
        else:
            sequences = self._reranker.find_candidates(
                self._model, *tensors, is_padded=is_padded, graphs=self._graphs
            )
        assert isinstance(sequences, Tensor)
        return sequences.cpu()  # waits for the device, so that the time includes its work

    def _size(self, rows: np.ndarray) -> int:
        return len(rows) * int(self._sources.lengths[rows].max())

    def _is_known_to_be_too_large(self, rows: np.ndarray) -> bool:
        return self._most_tokens is not None and self._size(rows) > self._most_tokens and len(rows) > 1

    def _back_off(self, rows: np.ndarray) -> None:
        """Remember that a batch was too large. Raises OutOfMemory if it is a single source."""
        longest = int(self._sources.lengths[rows].max())
        if len(rows) == 1:
            raise OutOfMemory(
                f"out of memory with a single source of {longest} tokens; give a lower --max_source_length"
            )
        self._most_tokens = self._size(_halves(rows)[0])
        print(
            f"out of memory with {len(rows)} sources of up to {longest} tokens at once: going on with half as many",
            file=sys.stderr,
            flush=True,
        )

    def _free_memory(self) -> None:
        """Free what earlier searches keep for later ones."""
        self._graphs.clear()
        free_unused_memory(self._device)


def _mixed(seed: int, row: int) -> int:
    """Return the seed of a batch that begins with ``row``: its draws depend on nothing that was generated before.

    On a CPU torch takes only the lower 32 bits of a seed, so the numbers are mixed.
    """
    return int.from_bytes(hashlib.blake2b(f"{seed} {row}".encode(), digest_size=8).digest())


def _halves(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = (len(rows) + 1) // 2
    return rows[:middle], rows[middle:]


def by_source(texts: Sequence[str], sources: int) -> list[list[str]]:
    """Return the texts of each source, which has as many as any other."""
    per_source = len(texts) // sources
    return [list(texts[start : start + per_source]) for start in range(0, len(texts), per_source)]


def _progress(total: int, rank: int) -> ProgressBar:
    """Return a progress bar of the first process; a log file gets only its last state."""
    every = 0.1 if sys.stderr.isatty() else float("inf")
    return ProgressBar(
        total=total,
        desc="generating",
        unit="seq",
        mininterval=every,
        delay=0 if sys.stderr.isatty() else 1e-9,  # else a log file would show 0%, too
        dynamic_ncols=True,
        disable=rank > 0 or total == 0,
    )
