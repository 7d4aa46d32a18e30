"""From token ids to padded batches.

Shapes: B examples of a batch, S tokens of its longest source, T tokens of its longest target, both padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bart.modeling.modeling_bart import IGNORE_INDEX, find_target_indices

from .batch_sampler import BatchIndices, batch_loader, batches_by_length
from .denoising import Noise
from .padding import padded_length
from .tokens.token_array import TokenStore


class Batch(NamedTuple):
    """What a model is given at once. Padding is on the right."""

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) int64, 1 for a token, 0 for padding
    is_padded: bool  # whether there is a 0 in it
    labels: Tensor  # (B, T) int64, IGNORE_INDEX for padding
    target_indices: Tensor  # (N,) int64, of the N target tokens among the B * T labels
    rows: Tensor  # (B,) int64, the numbers of the examples in their dataset, from 0
    step_target_tokens: int  # target tokens of the optimizer step that this batch is a part of

    def mask(self) -> Tensor | None:
        """The attention mask where there is padding: attention without one is faster."""
        return self.attention_mask if self.is_padded else None


class Examples(Protocol):
    """What is learnt from: pairs of token arrays by number, from 0, whose lengths are known beforehand."""

    source_lengths: np.ndarray  # tokens of each example; of a source that is corrupted, those before
    target_lengths: np.ndarray

    def example(self, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target tokens. The ``epoch`` matters where an example is another one in each."""

    def origin(self, row: int) -> "Place":
        """Where its texts stand, for messages."""

    def checksum(self) -> int:
        """A number that differs when the tokens do."""


class Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int  # from 1

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


@dataclass
class Origin:
    """Where the texts of examples stand."""

    path: Path
    lines: np.ndarray  # of each example, from 0

    def __call__(self, row: int) -> Place:
        """For messages."""
        return Place(self.path, int(self.lines[row]) + 1)


def places(examples: Examples, rows: Sequence[int]) -> str:
    """Where the texts of these examples stand, for messages: each file, and the lines in it."""
    by_path: dict[Path, list[int]] = {}
    for place in map(examples.origin, rows):
        by_path.setdefault(place.path, []).append(place.line)
    return " and ".join(
        f"{path}, {'lines' if len(lines) > 1 else 'line'} {', '.join(map(str, sorted(lines)))}"
        for path, lines in by_path.items()
    )


class PairExamples:
    """Texts and their summaries."""

    def __init__(self, sources: TokenStore, targets: TokenStore, origin: Origin) -> None:
        self.sources, self.targets, self.origin = sources, targets, origin
        self.source_lengths, self.target_lengths = sources.lengths, targets.lengths

    def example(self, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return self.sources[row], self.targets[row]

    def checksum(self) -> int:
        return self.sources.checksum() ^ self.targets.checksum()


class DenoisingExamples:
    """Corrupted texts and what they were before."""

    def __init__(self, texts: TokenStore, noise: Noise, origin: Origin) -> None:
        self._texts, self._noise, self.origin = texts, noise, origin
        self.source_lengths = self.target_lengths = texts.lengths

    def example(self, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return self._noise.corrupt(self._texts[row], epoch, row), self._texts[row]

    def checksum(self) -> int:
        return self._texts.checksum()


class JoinedExamples:
    """The examples of one kind, then those of another."""

    def __init__(self, first: Examples, second: Examples) -> None:
        self._parts = (first, second)
        self._boundary = len(first.source_lengths)
        self.source_lengths = np.concatenate([first.source_lengths, second.source_lengths])
        self.target_lengths = np.concatenate([first.target_lengths, second.target_lengths])

    def example(self, row: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if row < self._boundary:
            return self._parts[0].example(row, epoch)
        return self._parts[1].example(row - self._boundary, epoch)

    def origin(self, row: int) -> Place:
        return self._parts[0].origin(row) if row < self._boundary else self._parts[1].origin(row - self._boundary)

    def checksum(self) -> int:
        return self._parts[0].checksum() ^ self._parts[1].checksum()


class BatchDataset(Dataset[Batch]):
    """Examples as padded batches: indexed by the indices of a batch, it gives that batch."""

    def __init__(self, examples: Examples, pad_token_id: int, max_padded_length: int) -> None:
        self.examples = examples
        self.pad_token_id = pad_token_id
        self.max_padded_length = max_padded_length

    def __len__(self) -> int:
        return len(self.examples.source_lengths)

    def __getitem__(self, indices: BatchIndices) -> Batch:
        pairs = [self.examples.example(row, indices.epoch) for row in indices.rows.tolist()]
        sources, targets = zip(*pairs, strict=True)
        input_ids, attention_mask = pad_sources(sources, self.pad_token_id, self.max_padded_length)
        labels = _pad(targets, IGNORE_INDEX, self.max_padded_length)
        if indices.is_dummy:
            labels.fill_(IGNORE_INDEX)
        is_padded = not bool(attention_mask.all())
        target_indices, rows = find_target_indices(labels), torch.from_numpy(indices.rows)
        return Batch(input_ids, attention_mask, is_padded, labels, target_indices, rows, indices.step_target_tokens)


def validation_loader(
    dataset: BatchDataset, batch_size: int, processes: int, rank: int, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """This process's share of the examples, each once, and dummy batches, so that every process runs as many batches.

    The others would wait for one that runs fewer, where a model's layers are spread over them.
    """
    return batch_loader(dataset, validation_batches(dataset, batch_size, processes, rank), num_workers, pin_memory)


def validation_batches(dataset: BatchDataset, batch_size: int, processes: int, rank: int) -> list[BatchIndices]:
    """The batches of ``validation_loader``, the longest sources first."""
    share = np.arange(rank, len(dataset), processes)
    batches = [share[batch] for batch in batches_by_length(dataset.examples.source_lengths[share], batch_size)]
    target_lengths = dataset.examples.target_lengths
    indices_of_batches = [BatchIndices(rows, step_target_tokens=int(target_lengths[rows].sum())) for rows in batches]
    largest_share = -(-len(dataset) // processes)
    dummy = BatchIndices(np.zeros(1, dtype=np.int64), step_target_tokens=0, is_dummy=True)
    indices_of_batches += [dummy] * (-(-largest_share // batch_size) - len(indices_of_batches))
    return indices_of_batches


def pad_sources(sources: Sequence[np.ndarray], pad_token_id: int, max_padded_length: int) -> tuple[Tensor, Tensor]:
    """Token arrays as input_ids and attention_mask, both (B, S)."""
    lengths = torch.tensor([len(source) for source in sources])
    input_ids = _pad(sources, pad_token_id, max_padded_length)
    return input_ids, (torch.arange(input_ids.size(1)) < lengths[:, None]).long()  # (S) < (B, 1)


def _pad(texts: Sequence[np.ndarray], filler: int, max_padded_length: int) -> Tensor:
    """(B, longest) int64; the length rounded up to a padded one, unless that were beyond ``max_padded_length``."""
    longest = max(map(len, texts))
    length = max(longest, min(padded_length(longest), max_padded_length))
    padded = torch.full((len(texts), length), filler)
    for text, row in zip(texts, padded, strict=True):
        row[: len(text)] = torch.from_numpy(text.astype(np.int64))
    return padded
