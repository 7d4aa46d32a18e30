"""Logits processors: bans, forced tokens, penalties, sampling filters, and functions of the caller.

A processor takes the tokens so far and the next token's scores, and returns new scores. All but those of the caller
are tensor operations that read no value back to the host.
Shapes: R rows, L tokens so far, V vocabulary, B sentences (R is a multiple of B).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bart.configuration.generation_config import MOST_TOKENS, GenerationConfig, token_list
from bart.errors import InputError
from bart.generation.arguments import SpecialTokens

BANNED = float("-inf")


class LogitsProcessor:
    """A change of the next token's scores."""

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        """Return the changed scores (R, V), given the tokens so far (R, L) and the scores (R, V)."""
        raise NotImplementedError

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""


@dataclass
class CallersProcessors:
    """Functions of the caller of a search that change scores."""

    logits_processors: Sequence[Callable[[Tensor, Tensor], Tensor]] = field(default=())
    prefix_allowed_tokens: Callable[[int, Tensor], Iterable[int]] | None = None

    @property
    def any(self) -> bool:
        """Whether the caller gave any."""
        return bool(self.logits_processors) or self.prefix_allowed_tokens is not None


def build_logits_processors(
    settings: GenerationConfig,
    source: Tensor | None,
    special: SpecialTokens,
    prompt_length: int = 1,
    callers: CallersProcessors | None = None,
) -> list[LogitsProcessor]:
    """Build the processors that ``settings`` ask for, in the order in which transformers applies them.

    Args:
        settings: of one search, with ``max_length``.
        source: (B, S) source tokens; None: unknown, and processors that need them are left out.
        special: the tokens that begin and end outputs.
        prompt_length: number of tokens that every output begins with.
        callers: functions of the caller.
    """
    processors: list[LogitsProcessor] = []
    callers = callers or CallersProcessors()
    eos = special.eos

    # Penalties and bans that depend on the source or on the output so far.
    if settings.sequence_bias is not None:
        processors.append(SequenceBias(settings.sequence_bias))
    if settings.encoder_repetition_penalty != 1.0 and source is not None:
        processors.append(SourcePenalty(1 / settings.encoder_repetition_penalty, source))
    if settings.repetition_penalty != 1.0:
        processors.append(RepetitionPenalty(settings.repetition_penalty))
    if settings.no_repeat_ngram_size > 0:
        processors.append(NoRepeatedNgrams(settings.no_repeat_ngram_size))
    if settings.encoder_no_repeat_ngram_size > 0 and source is not None:
        processors.append(NoSourceNgrams(settings.encoder_no_repeat_ngram_size, source))
    if settings.bad_words_ids is not None:
        ends = [[token] for token in eos]
        processors.append(NoBadWords([word for word in settings.bad_words_ids if word not in ends]))
    if settings.min_length > 0 and eos:
        processors.append(MinLength(settings.min_length, eos))
    if callers.prefix_allowed_tokens is not None:
        beams = settings.num_beams // settings.num_beam_groups
        processors.append(AllowedTokens(callers.prefix_allowed_tokens, beams))

    # Tokens that are forced, encouraged or suppressed at their position.
    if settings.forced_bos_token_id is not None:
        processors.append(ForcedTokens(1, token_list(settings.forced_bos_token_id)))
    if settings.forced_eos_token_id is not None:
        assert settings.max_length is not None
        processors.append(ForcedTokens(settings.max_length - 1, token_list(settings.forced_eos_token_id)))
    if settings.exponential_decay_length_penalty is not None and eos:
        start, factor = settings.exponential_decay_length_penalty
        processors.append(DecayLengthPenalty(int(start) + prompt_length, factor, eos))
    if settings.suppress_tokens:
        processors.append(SuppressTokens(settings.suppress_tokens))
    if settings.begin_suppress_tokens:
        is_first_forced = prompt_length == 1 and settings.forced_bos_token_id is not None
        first = prompt_length + 1 if is_first_forced else prompt_length
        processors.append(SuppressTokens(settings.begin_suppress_tokens, at=first))

    # Functions of the caller, then sampling.
    processors += [CallersProcessor(processor) for processor in callers.logits_processors]
    if settings.do_sample:
        processors.extend(_build_sampling_processors(settings, len(eos)))
    if settings.renormalize_logits:
        processors.append(Renormalize())
    return processors


def _build_sampling_processors(settings: GenerationConfig, ends: int) -> list[LogitsProcessor]:
    """Build the filters of sampling; ``ends`` is the number of tokens that end a sentence."""
    # With beams, at least one token that does not end the sentence must stay.
    least = 1 if settings.num_beams == 1 else max(2, ends + 1)
    processors: list[LogitsProcessor] = []
    if settings.temperature != 1.0:
        processors.append(Temperature(settings.temperature))
    if settings.top_k > 0:
        processors.append(TopK(max(settings.top_k, least)))
    if settings.top_p < 1.0:
        processors.append(TopP(settings.top_p, least))
    if settings.min_p is not None:
        processors.append(MinP(settings.min_p, least))
    if settings.typical_p < 1.0:
        processors.append(TypicalP(settings.typical_p, least))
    return processors


def _ban(scores: Tensor, tokens: Tensor, is_banned: Tensor) -> Tensor:
    """Ban in each row of ``scores`` (R, V) those of its ``tokens`` (R, n) for which ``is_banned`` (R, n) is true."""
    limits = scores.new_full(tokens.shape, float("inf")).masked_fill_(is_banned, BANNED)
    return scores.scatter_reduce(1, tokens, limits, "amin")


def _with(scores: Tensor, token_ids: Sequence[int], score: float) -> Tensor:
    """Return a copy of ``scores`` (R, V) with ``score`` for each of ``token_ids``."""
    scores = scores.clone()
    for token in token_ids:
        scores[:, token] = score
    return scores


@dataclass
class RepetitionPenalty(LogitsProcessor):
    """Make tokens that the output already has less likely (Keskar et al. 2019, section 4.1)."""

    penalty: float

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        return scores.scatter(1, tokens, self.penalize(scores.gather(1, tokens)))

    def penalize(self, seen: Tensor) -> Tensor:
        """Lower the scores of tokens that the output already has, of any shape."""
        return torch.where(seen < 0, seen * self.penalty, seen / self.penalty)


@dataclass
class NoRepeatedNgrams(LogitsProcessor):
    """Ban tokens that would complete an n-gram of the output a second time (Paulus et al. 2017, section 2.5)."""

    size: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        length = tokens.size(1)
        if length < self.size:
            return scores
        ngrams = tokens.unfold(1, self.size, 1)  # (R, L - n + 1, n)
        last = tokens[:, length - self.size + 1 :]  # (R, n - 1)
        return _ban(scores, ngrams[..., -1], (ngrams[..., :-1] == last[:, None]).all(-1))


class NoSourceNgrams(LogitsProcessor):
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

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        if self.ngrams is not None:
            self.ngrams = gather(self.ngrams)


class NoBadWords(LogitsProcessor):
    """Ban tokens that would complete one of the given sequences of tokens."""

    def __init__(self, words: list[list[int]]) -> None:
        by_length = {len(word): [other for other in words if len(other) == len(word)] for word in words}
        self.words = [torch.tensor(group) for group in by_length.values()]  # each (n, length)

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        rows, length = tokens.shape
        self.words = [words.to(tokens.device) for words in self.words]
        for words in self.words:
            begun = words.size(1) - 1
            if begun <= length:
                completes = (tokens[:, None, length - begun :] == words[:, :-1]).all(-1)  # (R, n)
                scores = _ban(scores, words[:, -1].expand(rows, -1), completes)
        return scores


class SequenceBias(LogitsProcessor):
    """Add a number to the scores of tokens that would complete given sequences of tokens."""

    def __init__(self, biases: list[list[Any]]) -> None:
        by_sequence = {tuple(ids): float(bias) for ids, bias in biases}  # of equal sequences the last one counts
        self.biases: list[tuple[Tensor, Tensor]] = []  # sequences (n, length) and what is added for each (n,)
        for length in sorted({len(ids) for ids in by_sequence}):
            group = [ids for ids in by_sequence if len(ids) == length]
            self.biases.append((torch.tensor(group), torch.tensor([by_sequence[ids] for ids in group])))

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        self.biases = [(ids.to(tokens.device), added.to(scores.device)) for ids, added in self.biases]
        total = torch.zeros_like(scores)
        for ids, added in self.biases:
            begun = ids.size(1) - 1
            if begun <= tokens.size(1):
                completes = (tokens[:, None, tokens.size(1) - begun :] == ids[:, :-1]).all(-1)  # (R, n)
                total.index_add_(1, ids[:, -1], torch.where(completes, added, 0.0).to(total.dtype))
        return scores + total


class SourcePenalty(LogitsProcessor):
    """Make the tokens of the source less likely (a penalty above 1) or likelier (below)."""

    def __init__(self, penalty: float, source: Tensor) -> None:
        self.source = source.clone()  # (B, S)
        self._penalty = RepetitionPenalty(penalty)

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        return self._penalty(self.source.repeat_interleave(len(scores) // len(self.source), dim=0), scores)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        self.source = gather(self.source)


@dataclass
class MinLength(LogitsProcessor):
    """Ban the end of sentence from outputs shorter than ``length`` tokens."""

    length: int
    eos_token_ids: list[int]

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        return _with(scores, self.eos_token_ids, BANNED) if tokens.size(1) < self.length else scores


@dataclass
class ForcedTokens(LogitsProcessor):
    """Allow only the given tokens after ``position`` tokens, each with log probability 0."""

    position: int
    token_ids: list[int]

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        if tokens.size(1) != self.position:
            return scores
        return _with(torch.full_like(scores, BANNED), self.token_ids, 0.0)


@dataclass
class SuppressTokens(LogitsProcessor):
    """Ban tokens at every position, or only after ``at`` tokens."""

    token_ids: list[int]
    at: int | None = None

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        is_due = self.at is None or tokens.size(1) == self.at
        return _with(scores, self.token_ids, BANNED) if is_due else scores


@dataclass
class DecayLengthPenalty(LogitsProcessor):
    """Make the end of sentence likelier with every token after the first ``start``."""

    start: int
    factor: float
    eos_token_ids: list[int]

    @cached_property
    def _most_surplus(self) -> int:
        """After so many tokens the power stays as it is: 1e30 times a score is the end, and 1e308 no number of it."""
        return int(30 / math.log10(self.factor)) + 1 if self.factor > 1 else MOST_TOKENS

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        surplus = tokens.size(1) - self.start
        if surplus <= 0:
            return scores
        ends = scores[:, self.eos_token_ids]
        # A share of the size of the score, since a score may be negative. What is banned stays banned.
        growth = self.factor ** min(surplus, self._most_surplus)
        added = ends.abs() * (growth - 1)
        scores = scores.clone()
        scores[:, self.eos_token_ids] = ends + added.masked_fill(~ends.isfinite(), 0.0)
        return scores


@dataclass
class AllowedTokens(LogitsProcessor):
    """Allow only the tokens that a function of the sentence's index and its tokens so far returns.

    If other processors have banned all of these for every beam of a sentence, they get log probability 0.
    """

    allowed: Callable[[int, Tensor], Iterable[int]]
    beams: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        limits = torch.full_like(scores, BANNED)
        for row, sequence in enumerate(tokens):
            ids = list(self.allowed(row // self.beams, sequence))
            if not ids or not all(0 <= token < scores.size(1) for token in ids):
                problem = "no token" if not ids else f"tokens outside the vocabulary of {scores.size(1)}"
                raise InputError(f"generate: prefix_allowed_tokens_fn: returned {problem}; return a list of token ids")
            limits[row, ids] = 0.0
        limited = scores + limits
        is_empty = limited.amax(-1).isneginf().view(-1, self.beams).all(1)
        return torch.where(is_empty.repeat_interleave(self.beams)[:, None], limits, limited)


@dataclass
class CallersProcessor(LogitsProcessor):
    """A callable that was given to ``generate``."""

    process: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        processed = self.process(tokens, scores)
        if not isinstance(processed, Tensor) or processed.shape != scores.shape:
            found = f"shape {tuple(processed.shape)}" if isinstance(processed, Tensor) else type(processed).__name__
            raise InputError(
                f"generate: logits_processor: returned {found}; return scores of shape {tuple(scores.shape)}"
            )
        return processed


@dataclass
class Temperature(LogitsProcessor):
    """Flatten (above 1) or sharpen (below 1) the distribution."""

    temperature: float

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


@dataclass
class TopK(LogitsProcessor):
    """Keep the k likeliest tokens, and ties with the last (Fan et al. 2018, https://arxiv.org/abs/1805.04833)."""

    k: int

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        worst_kept = scores.topk(min(self.k, scores.size(1))).values[:, -1:]
        return scores.masked_fill(scores < worst_kept, BANNED)


@dataclass
class TopP(LogitsProcessor):
    """Keep the fewest likeliest tokens that hold ``p`` of the probability (Holtzman et al. 2019, section 3.1)."""

    p: float
    least: int  # number of tokens that are always kept

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        ascending, order = scores.sort()
        removed = ascending.softmax(-1).cumsum(-1) <= 1 - self.p
        removed[:, -self.least :] = False
        return scores.masked_fill(removed.scatter(1, order, removed), BANNED)


@dataclass
class MinP(LogitsProcessor):
    """Keep the tokens that are at least ``p`` times as likely as the likeliest (Nguyen et al. 2024, section 3)."""

    p: float
    least: int  # number of tokens that are always kept

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(-1)
        removed = probabilities < self.p * probabilities.amax(-1, keepdim=True)
        likeliest = probabilities.topk(min(self.least, scores.size(1))).indices
        return scores.masked_fill(removed.scatter(1, likeliest, False), BANNED)


@dataclass
class TypicalP(LogitsProcessor):
    """Keep the tokens whose information is nearest to the entropy, and that hold ``p`` of the probability.

    Meister et al. 2022, section 3.2.
    """

    p: float
    least: int  # number of tokens that are always kept

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        log_probs = scores.log_softmax(-1)
        entropy = -(log_probs * log_probs.exp()).nansum(-1, keepdim=True)
        distances, order = (-log_probs - entropy).abs().sort()
        held = scores.gather(1, order).softmax(-1).cumsum(-1)
        last = (held < self.p).sum(1, keepdim=True).clamp(max=scores.size(1) - 1)
        removed = distances > distances.gather(1, last)
        removed[:, : self.least] = False
        return scores.masked_fill(removed.scatter(1, order, removed), BANNED)


class Renormalize(LogitsProcessor):
    """Normalize the scores, so that they are log probabilities again."""

    def __call__(self, tokens: Tensor, scores: Tensor) -> Tensor:
        return scores.log_softmax(-1)
