"""Logits processors for CUDA graphs: they change the scores of a step in place.

Each has the same operations in every step, whatever the length of the outputs, and copies no scores. There is one for
each setting that is common with beam search; searches with others take their steps without these.
Shapes: R rows, V vocabulary, L longest output.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor

from bart.generation.logits_processors import (
    BANNED,
    ForcedTokens,
    LogitsProcessor,
    MinLength,
    NoBadWords,
    NoRepeatedNgrams,
    RepetitionPenalty,
    SuppressTokens,
)
from bart.generation.output_length import StaticLength


@dataclass
class StepScores:
    """The next token's scores, and what has been written."""

    scores: Tensor  # (R, V) log probabilities, or logits if there are normalizers
    normalizers: Tensor | None  # of the logits, from the kernel of this name
    tokens: Tensor  # (R, L)
    length: StaticLength
    kernels: ModuleType | None  # that may change the scores

    def ban_columns(self, token_ids: Tensor, is_due: Tensor | None = None) -> None:
        """Ban ``token_ids`` (n,) from every row, always or if ``is_due`` (1,) is true."""
        if is_due is None:
            self.scores.index_fill_(1, token_ids, BANNED)
            return
        limits = torch.where(is_due, BANNED, self.scores.index_select(1, token_ids))
        self.scores.index_copy_(1, token_ids, limits)

    def ban(self, tokens: Tensor, is_banned: Tensor) -> None:
        """Ban in each row those of its ``tokens`` (R, n) for which ``is_banned`` (R, n) is true."""
        limits = torch.where(is_banned, BANNED, -BANNED).to(self.scores.dtype)
        self.scores.scatter_reduce_(1, tokens, limits, "amin")


class StaticProcessor(Protocol):
    """A change of the next token's scores in place. All of its tensors must be on the device when it is made."""

    only_bans: bool  # whether it needs no log probabilities

    def __call__(self, step: StepScores) -> None:
        """Change ``step.scores``."""


class _RepetitionPenalty:
    only_bans = False

    def __init__(self, processor: RepetitionPenalty, device: torch.device) -> None:
        self._processor = processor

    def __call__(self, step: StepScores) -> None:
        tokens = step.length.so_far(step.tokens)  # equal ones get equal scores
        step.scores.scatter_(1, tokens, self._processor.penalize(step.scores.gather(1, tokens)))


class _NoRepeatedNgrams:
    only_bans = True

    def __init__(self, processor: NoRepeatedNgrams, device: torch.device) -> None:
        self._size = processor.size

    def __call__(self, step: StepScores) -> None:
        size = self._size
        if step.tokens.size(1) < size:
            return
        if step.kernels is not None:
            step.kernels.ban_repeated_ngrams(step.scores, step.tokens, step.length.tensor, size)
            return
        ngrams = step.tokens.unfold(1, size, 1)  # (R, L - n + 1, n)
        ends = torch.arange(size, step.tokens.size(1) + 1, device=step.tokens.device)
        is_banned = (ends <= step.length.tensor).expand(ngrams.shape[:2])
        if size > 1:
            last = step.length.newest(step.tokens, size - 1)
            is_banned = is_banned & (ngrams[..., :-1] == last[:, None]).all(-1)
        step.ban(ngrams[..., -1], is_banned)


class _NoBadWords:
    only_bans = True

    def __init__(self, processor: NoBadWords, device: torch.device) -> None:
        self._words = [words.to(device) for words in processor.words]  # each (n, length)

    def __call__(self, step: StepScores) -> None:
        rows, longest = step.tokens.shape
        for words in self._words:
            begun = words.size(1) - 1
            if begun == 0:
                step.ban_columns(words[:, 0])
            elif begun <= longest:
                last = step.length.newest(step.tokens, begun)
                completes = (last[:, None] == words[:, :-1]).all(-1) & (step.length.tensor >= begun)  # (R, n)
                step.ban(words[:, -1].expand(rows, -1), completes)


class _MinLength:
    only_bans = True

    def __init__(self, processor: MinLength, device: torch.device) -> None:
        self._processor = processor

    def __call__(self, step: StepScores) -> None:
        is_due = step.length.tensor < self._processor.length
        for token in self._processor.eos_token_ids:  # seldom more than one
            step.scores[:, token].masked_fill_(is_due, BANNED)


class _ForcedTokens:
    only_bans = True

    def __init__(self, processor: ForcedTokens, device: torch.device) -> None:
        self._position, self._ids = processor.position, torch.tensor(processor.token_ids, device=device)

    def __call__(self, step: StepScores) -> None:
        if step.kernels is not None:
            step.kernels.allow_only(step.scores, step.normalizers, self._ids, step.length.tensor, self._position)
            return
        is_due = step.length.tensor == self._position
        forced = torch.where(is_due, 0.0, step.scores.index_select(1, self._ids)).to(step.scores.dtype)
        step.scores.masked_fill_(is_due, BANNED)
        step.scores.index_copy_(1, self._ids, forced)


class _SuppressTokens:
    only_bans = True

    def __init__(self, processor: SuppressTokens, device: torch.device) -> None:
        self._at, self._ids = processor.at, torch.tensor(processor.token_ids, device=device)

    def __call__(self, step: StepScores) -> None:
        step.ban_columns(self._ids, None if self._at is None else step.length.tensor == self._at)


_STATIC: dict[type[LogitsProcessor], Callable[[Any, torch.device], StaticProcessor]] = {
    RepetitionPenalty: _RepetitionPenalty,
    NoRepeatedNgrams: _NoRepeatedNgrams,
    NoBadWords: _NoBadWords,
    MinLength: _MinLength,
    ForcedTokens: _ForcedTokens,
    SuppressTokens: _SuppressTokens,
}


def are_static(processors: Sequence[LogitsProcessor]) -> bool:
    """Return whether ``static_processors`` knows all of these."""
    return all(type(processor) in _STATIC for processor in processors)


def static_processors(processors: Sequence[LogitsProcessor], device: torch.device) -> list[StaticProcessor]:
    """Return processors that do the same in place, on ``device``."""
    return [_STATIC[type(processor)](processor, device) for processor in processors]
