"""Make one batch: from the indices of its examples to padded tensors.

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

PADDING_MULTIPLE = 8  # for the tensor cores of GPUs; greatest lengths such as 1024 are multiples of it, too
EXACT = (PADDING_MULTIPLE, PADDING_MULTIPLE)  # multiples to which sources and targets are padded
FEW = (128, 8)  # so that few shapes come back: cuDNN plans its attention anew for each, 210 ms a step on an H200

Lengths = TypeVar("Lengths", int, np.ndarray)


@dataclass(frozen=True)
class BatchIndices:
    """Names the examples of one micro-batch of one process."""

    indices: np.ndarray  # (B,) int64, numbers of examples from 0; never empty
    step_target_tokens: int  # of the optimizer step, over all its micro-batches and processes
    epoch: int = 0  # from 0
    is_dummy: bool = False  # the step has too few examples for this micro-batch: it is computed, but does not count
    window: tuple[int, int] = (0, 0)  # least lengths of sources and targets, padding included


class Batch(NamedTuple):
    """Holds the tensors that a model is given at once. Padding is on the right."""

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) int64, 1 for a token, 0 for padding
    is_padded: bool  # whether attention_mask has a 0
    labels: Tensor  # (B, T) int64, IGNORE_INDEX for padding
    target_indices: Tensor  # (N,) int64, positions of the N target tokens in the flattened labels
    indices: Tensor  # (B,) int64, numbers of the examples in their dataset, from 0
    step_target_tokens: int  # of the optimizer step that the batch belongs to

    def mask(self) -> Tensor | None:
        """Return the attention mask, or None if nothing is padded: attention without a mask is faster."""
        return self.attention_mask if self.is_padded else None


class BatchDataset(Dataset[Batch]):
    """Gives padded batches of examples: ``dataset[BatchIndices(...)]`` is one ``Batch``."""

    def __init__(self, examples: Examples, pad_token_id: int, max_padded_length: int) -> None:
        """Take examples of at most ``max_padded_length`` tokens, the positions that the model has."""
        self.examples = examples
        self.pad_token_id = pad_token_id
        self.max_padded_length = max_padded_length

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.examples.source_lengths)

    def __getitem__(self, batch: BatchIndices) -> Batch:
        """Collate the examples of one batch. A dummy batch has no labels, so it adds nothing to the loss."""
        pairs = [self.examples.example(index, batch.epoch) for index in batch.indices.tolist()]
        sources, targets = zip(*pairs, strict=True)
        source_length, target_length = batch.window
        input_ids, attention_mask = pad_sources(sources, self.pad_token_id, self.max_padded_length, source_length)
        labels = _pad(targets, IGNORE_INDEX, self.max_padded_length, target_length)
        if batch.is_dummy:
            labels.fill_(IGNORE_INDEX)
        is_padded = not bool(attention_mask.all())
        target_indices, indices = find_target_indices(labels), torch.from_numpy(batch.indices)
        return Batch(input_ids, attention_mask, is_padded, labels, target_indices, indices, batch.step_target_tokens)


def pad_sources(
    sources: Sequence[np.ndarray], pad_token_id: int, max_padded_length: int, least: int = 0
) -> tuple[Tensor, Tensor]:
    """Make input_ids and attention_mask, both (B, S) int64, of token arrays of at most ``max_padded_length``.

    S is at least ``least``, if that does not exceed ``max_padded_length``.
    """
    lengths = torch.tensor([len(source) for source in sources])
    input_ids = _pad(sources, pad_token_id, max_padded_length, least)
    return input_ids, (torch.arange(input_ids.size(1)) < lengths[:, None]).long()  # (S) < (B, 1)


def padded_length(tokens: Lengths, multiple: int = PADDING_MULTIPLE) -> Lengths:
    """Round one length, or each of an array, up to a multiple."""
    return -(-tokens // multiple) * multiple


def padded_shapes(source_lengths: np.ndarray, target_lengths: np.ndarray, multiples: tuple[int, int]) -> np.ndarray:
    """Round the lengths of examples up to the multiples, but not beyond the longest source and the longest target.

    Returns:
        (2, examples) int64, the padded lengths of sources and targets.
    """
    padded = []
    for lengths, multiple in zip((source_lengths, target_lengths), multiples, strict=True):
        longest = padded_length(lengths.max(initial=0))
        if multiple > PADDING_MULTIPLE and longest % 128 == 64:
            longest += PADDING_MULTIPLE  # cuDNN's backward pass of attention may be NaN there: pytorch issue 196678
        padded.append(np.minimum(padded_length(lengths, multiple), longest))
    return np.stack(padded)


def _pad(texts: Sequence[np.ndarray], filler: int, max_padded_length: int, least: int) -> Tensor:
    """Return (B, L) int64. L is at least the longest text's padded length, but no more than ``max_padded_length``."""
    longest = max(map(len, texts))
    length = max(longest, min(max(padded_length(longest), least), max_padded_length))
    padded = torch.full((len(texts), length), filler)
    for text, row in zip(texts, padded, strict=True):
        row[: len(text)] = torch.from_numpy(text.astype(np.int64))
    return padded
