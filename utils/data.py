"""From line files to batches of token ids.

Shapes: B examples of a batch, S tokens of its longest source, T tokens of its longest target, both padded.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from bart.modeling.modeling_bart import IGNORED_LABEL
from utils.batching import BatchPlan, batches_by_length, planned_loader

PADDING_MULTIPLE = 8  # the tensor cores of GPUs want it (also what max lengths such as 1024 are multiples of)
_LINES_PER_CALL = 1000  # of the tokenizer: enough to keep its threads busy, few enough to stay small in memory


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file, split at \\n alone, a trailing \\r dropped: line i is example i, whatever it holds.

    Raises InputError, naming the file (and the line), where it is missing or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; a data folder holds {{train,val,test}}.{{source,target}}"
        ) from error
    lines = content.removesuffix(b"\n").split(b"\n") if content else []
    try:
        return [line.removesuffix(b"\r").decode("utf-8") for line in lines]
    except UnicodeDecodeError:
        number = next(number for number, line in enumerate(lines, start=1) if not _is_utf8(line))
        raise InputError(f"{path}: line {number} is not UTF-8; convert the file to UTF-8") from None


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@dataclass
class Pairs:
    """The texts of a split: ``targets[i]`` summarizes ``sources[i]``."""

    sources: list[str]
    targets: list[str]

    def __len__(self) -> int:
        return len(self.sources)


def read_pairs(data_dir: str | Path, split: str, limit: int = -1) -> Pairs:
    """Read ``split``.source and ``split``.target; the first ``limit`` pairs, -1 for all.

    Raises InputError where a file is missing, empty, or longer than the other.
    """
    paths = [Path(data_dir) / f"{split}.{side}" for side in ("source", "target")]
    sources, targets = (read_lines(path) for path in paths)
    if len(sources) != len(targets):
        raise InputError(
            f"{paths[0]} has {len(sources)} lines, {paths[1]} has {len(targets)}; line i of both must be one example"
        )
    if not sources:
        raise InputError(f"{paths[0]}: is empty; give at least one example")
    return Pairs(sources[:limit], targets[:limit]) if limit >= 0 else Pairs(sources, targets)


def deranged(texts: list[str], seed: int) -> list[str]:
    """The same texts, each in another's place. Raises InputError where there are fewer than two."""
    if len(texts) < 2:
        raise InputError("one example has no other's source to be given; use at least two")
    order = np.random.default_rng(seed).permutation(len(texts))
    moved = list(texts)
    for place, origin in zip(order, np.roll(order, 1), strict=True):
        moved[place] = texts[origin]
    return moved


@dataclass
class TokenStore:
    """Token ids of many texts in one flat array: text i is ``tokens[offsets[i] : offsets[i + 1]]``."""

    tokens: np.ndarray  # uint16, or int32 where the vocabulary is larger
    offsets: np.ndarray  # int64, one more than there are texts

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.tokens[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def checksum(self) -> int:
        """A number that differs when the tokens do."""
        return zlib.crc32(self.offsets.tobytes(), zlib.crc32(self.tokens.tobytes()))


def encode(lines: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> TokenStore:
    """Tokenize ``prefix`` + line for every line: <s> ... </s>, cut to ``max_length`` tokens with </s> kept."""
    token_type = np.uint16 if len(tokenizer) <= 2**16 else np.int32
    chunks, lengths = [], [0]
    for start in range(0, len(lines), _LINES_PER_CALL):
        texts = [prefix + line for line in lines[start : start + _LINES_PER_CALL]]
        encoded = tokenizer(texts, max_length=max_length, truncation=True, return_attention_mask=False)["input_ids"]
        lengths.extend(map(len, encoded))
        chunks.append(np.fromiter((token for ids in encoded for token in ids), dtype=token_type))
    return TokenStore(np.concatenate(chunks), np.cumsum(lengths, dtype=np.int64))


class Batch(NamedTuple):
    """What a model is given at once. Padding is on the right."""

    input_ids: Tensor  # (B, S) int64
    attention_mask: Tensor  # (B, S) int64, 1 for a token, 0 for padding
    labels: Tensor  # (B, T) int64, IGNORED_LABEL for padding
    rows: Tensor  # (B,) int64, the line numbers of the examples, from 0
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


def encode_pairs(
    pairs: Pairs,
    tokenizer: PreTrainedTokenizerBase,
    prefix: str,
    max_source_length: int,
    max_target_length: int,
    max_padded_length: int,
) -> PairDataset:
    """Tokenize both sides of a split; the same prefix goes before both, as in the reference.

    ``max_padded_length`` is the number of the model's positions, which padding must not pass.
    """
    sources = encode(pairs.sources, tokenizer, max_source_length, prefix)
    targets = encode(pairs.targets, tokenizer, max_target_length, prefix)
    return PairDataset(sources, targets, tokenizer.pad_token_id, max_padded_length)


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
    """(B, longest) int64; the length a multiple of PADDING_MULTIPLE, unless that were beyond ``max_padded_length``."""
    texts = [store[row] for row in rows]
    longest = max(map(len, texts))
    rounded_up = -(-longest // PADDING_MULTIPLE) * PADDING_MULTIPLE
    padded = torch.full((len(texts), max(longest, min(rounded_up, max_padded_length))), filler)
    for text, row in zip(texts, padded, strict=True):
        row[: len(text)] = torch.from_numpy(text.astype(np.int64))
    return padded


def decode(sequences: Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Token ids (N, L) to N texts of one line each, without special tokens."""
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [text.replace("\n", " ").strip() for text in texts]
