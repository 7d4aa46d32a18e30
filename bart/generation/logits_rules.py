"""Rules that change the next token's scores: bans, forced tokens, penalties, and the cuts of sampling.

A rule is called with the tokens so far and the next token's scores and returns scores. All are tensor operations,
without a look at any value from the host.
Shapes: R rows, L tokens so far, V vocabulary, B sentences (R is a multiple of B).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bart.configuration.search_settings import SearchSettings

BANNED = float("-inf")


class Rule:
    """A change of the next token's scores."""

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """tokens: (R, L), scores: (R, V) -> scores (R, V)."""
        raise NotImplementedError

    def select(self, of: Callable[[Tensor], Tensor]) -> None:
        """Let sentences leave: keep of every tensor (B, ...) what ``of`` gives."""


def build_rules(settings: SearchSettings, source: Tensor, eos_token_id: int) -> list[Rule]:
    """The rules that ``settings`` ask for, in the order in which they apply. source: (B, S) encoder input ids."""
    rules: list[Rule] = []
    if settings.repetition_penalty != 1.0:
        rules.append(RepetitionPenalty(settings.repetition_penalty))
    if settings.no_repeat_ngram_size > 0:
        rules.append(NoRepeatedNgrams(settings.no_repeat_ngram_size))
    if settings.encoder_no_repeat_ngram_size > 0:
        rules.append(NoSourceNgrams(settings.encoder_no_repeat_ngram_size, source))
    if settings.bad_words_ids is not None:
        rules.append(NoBadWords([word for word in settings.bad_words_ids if word != [eos_token_id]], source.device))
    if settings.min_length > 0:
        rules.append(MinLength(settings.min_length, eos_token_id))
    if settings.forced_bos_token_id is not None:
        rules.append(ForcedToken(1, settings.forced_bos_token_id))
    if settings.forced_eos_token_id is not None:
        rules.append(ForcedToken(settings.max_length - 1, settings.forced_eos_token_id))
    if settings.do_sample:
        rules.extend(_build_sampling_rules(settings))
    return rules


def _build_sampling_rules(settings: SearchSettings) -> list[Rule]:
    least = (
        2 if settings.num_beams > 1 else 1
    )  # with beams, one token that goes on must stay beside the end of sentence
    rules: list[Rule] = []
    if settings.temperature != 1.0:
        rules.append(Temperature(settings.temperature))
    if settings.top_k > 0:
        rules.append(TopK(max(settings.top_k, least)))
    if settings.top_p < 1.0:
        rules.append(TopP(settings.top_p, least))
    return rules


def _ban(scores: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """Ban in every row the tokens (R, n) for which ``where`` (R, n) holds."""
    limits = scores.new_full(tokens.shape, float("inf")).masked_fill_(where, BANNED)
    return scores.scatter_reduce(1, tokens, limits, "amin")


@dataclass
class RepetitionPenalty(Rule):
    """Make tokens that are already there less likely (Keskar et al. 2019, section 4.1)."""

    penalty: float

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        seen = scores.gather(1, tokens)
        return scores.scatter(1, tokens, torch.where(seen < 0, seen * self.penalty, seen / self.penalty))


@dataclass
class NoRepeatedNgrams(Rule):
    """Ban tokens that would complete an n-gram of the output a second time (Paulus et al. 2017, section 2.5)."""

    size: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        length = tokens.size(1)
        if length < self.size:
            return scores
        ngrams = tokens.unfold(1, self.size, 1)  # (R, L - n + 1, n)
        last = tokens[:, length - self.size + 1 :]  # (R, n - 1)
        return _ban(scores, ngrams[..., -1], (ngrams[..., :-1] == last[:, None]).all(-1))


class NoSourceNgrams(Rule):
    """Ban tokens that would complete an n-gram of the source."""

    def __init__(self, size: int, source: Tensor) -> None:
        self.size = size
        self.ngrams = source.unfold(1, size, 1).clone() if source.size(1) >= size else None  # (B, S - n + 1, n)

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        rows, length = tokens.shape
        if self.ngrams is None or length < self.size - 1:
            return scores
        ngrams = self.ngrams.repeat_interleave(rows // self.ngrams.size(0), dim=0)  # (R, S - n + 1, n)
        last = tokens[:, length - self.size + 1 :]
        return _ban(scores, ngrams[..., -1], (ngrams[..., :-1] == last[:, None]).all(-1))

    def select(self, of: Callable[[Tensor], Tensor]) -> None:
        if self.ngrams is not None:
            self.ngrams = of(self.ngrams)


class NoBadWords(Rule):
    """Ban tokens that would complete one of the given sequences of tokens."""

    def __init__(self, words: list[list[int]], device: torch.device) -> None:
        by_length = {len(word): [other for other in words if len(other) == len(word)] for word in words}
        self.words = [torch.tensor(group, device=device) for group in by_length.values()]  # each (n, length)

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        rows, length = tokens.shape
        for words in self.words:
            begun = words.size(1) - 1
            if begun <= length:
                completes = (tokens[:, None, length - begun :] == words[:, :-1]).all(-1)  # (R, n)
                scores = _ban(scores, words[:, -1].expand(rows, -1), completes)
        return scores


@dataclass
class MinLength(Rule):
    """Ban the end of sentence from outputs shorter than ``length`` tokens."""

    length: int
    eos_token_id: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        if tokens.size(1) >= self.length:
            return scores
        scores = scores.clone()
        scores[:, self.eos_token_id] = BANNED
        return scores


@dataclass
class ForcedToken(Rule):
    """Allow one token alone after ``position`` tokens, at log probability 0."""

    position: int
    token_id: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        if tokens.size(1) != self.position:
            return scores
        scores = torch.full_like(scores, BANNED)
        scores[:, self.token_id] = 0.0
        return scores


@dataclass
class Temperature(Rule):
    """Flatten (above 1) or sharpen (below 1) the distribution."""

    temperature: float

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


@dataclass
class TopK(Rule):
    """Keep the k likeliest tokens (Fan et al. 2018, https://arxiv.org/abs/1805.04833), and ties of the last."""

    k: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        worst_kept = scores.topk(min(self.k, scores.size(1))).values[:, -1:]
        return scores.masked_fill(scores < worst_kept, BANNED)


@dataclass
class TopP(Rule):
    """Keep the fewest likeliest tokens that hold ``p`` of the probability (Holtzman et al. 2019, section 3.1)."""

    p: float
    least: int  # so many are kept whatever they hold

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        ascending, order = scores.sort()
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - self.p
        removed[:, -self.least :] = False
        return scores.masked_fill(removed.scatter(1, order, removed), BANNED)
