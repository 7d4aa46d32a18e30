"""From token ids to padded batches, and back to texts.

Shapes: B examples of a batch, S tokens of its longest source, T tokens of its longest target, both padded.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from bart.modeling.modeling_bart import IGNORED_LABEL
from utils.batching import BatchPlan, batches_by_length, planned_loader
from utils.line_files import one_line
from utils.padding import padded_length
from utils.token_store import TokenStore


class Batch(NamedTuple):
    """What a model is given at once. Padding is on the right."""

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) int64, 1 for a token, 0 for padding
    labels: Tensor  # (B, T) int64, IGNORED_LABEL for padding
    rows: Tensor  # (B,) int64, the numbers of the examples in their dataset, from 0
    step_target_tokens: int  # target tokens of the optimizer step that this batch is a part of


class PairDataset(Dataset[Batch]):
    """Tokenized pairs; indexed by a plan of rows, it gives the batch."""

    def __init__(self, sources: TokenStore, targets: TokenStore, pad_token_id: int, max_padded_length: int) -> None:
        self.sources = sources
        self.targets = targets
        self.pad_token_id = pad_token_id
        self.max_padded_length = max_padded_length

    def __len__(self) -> int:
        return len(self.sources)

    def checksum(self) -> int:
        """A number that differs when the tokens do."""
        return self.sources.checksum() ^ self.targets.checksum()

    def __getitem__(self, plan: BatchPlan) -> Batch:
        input_ids, attention_mask = pad_sources(self.sources, plan.rows, self.pad_token_id, self.max_padded_length)
        labels = _pad(self.targets, plan.rows, IGNORED_LABEL, self.max_padded_length)
        if plan.is_stand_in:
            labels.fill_(IGNORED_LABEL)
        return Batch(input_ids, attention_mask, labels, torch.from_numpy(plan.rows), plan.step_target_tokens)


def validation_loader(
    dataset: PairDataset, batch_size: int, processes: int, rank: int, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """This process's share of the examples, each once; no process may be without any, or the others wait for it.

    Raises InputError where there are fewer examples than processes.
    """
    if len(dataset) < processes:
        raise InputError(f"--n_val: {len(dataset)} validation examples are too few for {processes} processes")
    share = np.arange(rank, len(dataset), processes)
    batches = [share[batch] for batch in batches_by_length(dataset.sources.lengths[share], batch_size)]
    target_lengths = dataset.targets.lengths
    plans = [BatchPlan(rows, step_target_tokens=int(target_lengths[rows].sum())) for rows in batches]
    return planned_loader(dataset, plans, num_workers, pin_memory)


def pad_sources(
    sources: TokenStore, rows: np.ndarray, pad_token_id: int, max_padded_length: int
) -> tuple[Tensor, Tensor]:
    """The texts of some rows as input_ids and attention_mask, both (B, S)."""
    lengths = torch.tensor([len(sources[row]) for row in rows])
    input_ids = _pad(sources, rows, pad_token_id, max_padded_length)
    return input_ids, (torch.arange(input_ids.size(1)) < lengths[:, None]).long()  # (S) < (B, 1)


def _pad(store: TokenStore, rows: np.ndarray, filler: int, max_padded_length: int) -> Tensor:
    """(B, longest) int64; the length rounded up to a padded one, unless that were beyond ``max_padded_length``."""
    texts = [store[row] for row in rows]
    longest = max(map(len, texts))
    length = max(longest, min(padded_length(longest), max_padded_length))
    padded = torch.full((len(texts), length), filler)
    for text, row in zip(texts, padded, strict=True):
        row[: len(text)] = torch.from_numpy(text.astype(np.int64))
    return padded


def decode(sequences: Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Token ids (N, L) to N texts of one line each, whoever splits them into lines, without special tokens."""
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [one_line(text) for text in texts]
