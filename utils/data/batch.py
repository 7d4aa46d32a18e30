"""One batch: the numbers of its examples, and their token ids as padded tensors.

Shapes: B examples of a batch, S tokens of its longest source, T tokens of its longest target, both padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bart.modeling.modeling_bart import IGNORE_INDEX, find_target_indices

from .examples import Examples

PADDING_MULTIPLE = 8  # the tensor cores of GPUs want it (also what max lengths such as 1024 are multiples of)

Lengths = TypeVar("Lengths", int, np.ndarray)


@dataclass(frozen=True)
class BatchIndices:
    """One micro-batch of one process: the examples it consists of."""

    indices: np.ndarray  # (B,) int64, line numbers from 0, never empty
    step_target_tokens: int  # of the whole optimizer step, over all its micro-batches and processes
    epoch: int = 0  # from 0
    is_dummy: bool = False  # the step has too few examples for this micro-batch: it is run, but must not count


class Batch(NamedTuple):
    """What a model is given at once. Padding is on the right."""

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) int64, 1 for a token, 0 for padding
    is_padded: bool  # whether there is a 0 in it
    labels: Tensor  # (B, T) int64, IGNORE_INDEX for padding
    target_indices: Tensor  # (N,) int64, of the N target tokens among the B * T labels
    indices: Tensor  # (B,) int64, the numbers of the examples in their dataset, from 0
    step_target_tokens: int  # target tokens of the optimizer step that this batch is a part of

    def mask(self) -> Tensor | None:
        """The attention mask where there is padding: attention without one is faster."""
        return self.attention_mask if self.is_padded else None


class BatchDataset(Dataset[Batch]):
    """Examples as padded batches: indexed by the indices of a batch, it gives that batch."""

    def __init__(self, examples: Examples, pad_token_id: int, max_padded_length: int) -> None:
        self.examples = examples
        self.pad_token_id = pad_token_id
        self.max_padded_length = max_padded_length

    def __len__(self) -> int:
        return len(self.examples.source_lengths)

    def __getitem__(self, batch: BatchIndices) -> Batch:
        pairs = [self.examples.example(index, batch.epoch) for index in batch.indices.tolist()]
        sources, targets = zip(*pairs, strict=True)
        input_ids, attention_mask = pad_sources(sources, self.pad_token_id, self.max_padded_length)
        labels = _pad(targets, IGNORE_INDEX, self.max_padded_length)
        if batch.is_dummy:
            labels.fill_(IGNORE_INDEX)
        is_padded = not bool(attention_mask.all())
        target_indices, indices = find_target_indices(labels), torch.from_numpy(batch.indices)
        return Batch(input_ids, attention_mask, is_padded, labels, target_indices, indices, batch.step_target_tokens)


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


def padded_length(tokens: Lengths) -> Lengths:
    """The next multiple of PADDING_MULTIPLE, of one length or of each in an array."""
    return -(-tokens // PADDING_MULTIPLE) * PADDING_MULTIPLE
