"""The bookkeeping of beam search after a step: which beams go on, which are finished, and who descends from whom.

Torch needs some sixty operations for it, each on a few numbers and each a kernel. As every kernel of a CUDA graph takes
at least 2 us, they would take a fifth of a step of one sentence.

Shapes: B sentences, K beams, C candidates, L longest output, P positions of the decoder's cache.
"""

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from bart.modeling.kernels.token_scores import _greatest, _in_order, _value_and_index

_PLACES = 64  # tokens of a beam that a program moves at a time; the outputs of most searches in one go
_POSITIONS = 256  # of the cache, likewise
_MOST_BEAMS = 32
_MOST_CANDIDATES = 128


@dataclass
class BeamTensors:
    """The state of a beam search, changed in place. All tensors are contiguous."""

    scores: Tensor  # float32 (B, K), of the running beams
    tokens: Tensor  # (B, K, L)
    rows: Tensor  # (B, K, L - 1), for each token after the first the row that it was chosen in
    finished_scores: Tensor  # the same of the finished beams
    finished_tokens: Tensor
    finished_rows: Tensor
    is_finished: Tensor  # bool (B, K), false if the entry is empty
    may_improve: Tensor  # bool (B, 1)
    length: Tensor  # (1,), the number of tokens so far
    flags: Tensor  # bool (B + 1,), for each sentence whether it is done, and whether the search is over
    ancestors: Tensor  # (B, 1, K, P), of which (length * K) positions have been used


@dataclass
class BeamRules:
    """What a search wants."""

    ends: Tensor  # (n,), the tokens that end an output; n may be 0
    divisors: Tensor  # float32, at n the divisor of the score of an output of n tokens after the first
    best_divisor: float | None  # of the best possible score of a running beam; None: that of the length so far
    stops_when_full: bool  # at K finished beams, whether or not others could be better
    longest: int  # L
    unused: float  # the score of an empty entry


def can_extend(beams: int, candidates: int) -> bool:
    """Return whether ``extend_beams`` can hold so many beams and candidates of a sentence."""
    return beams <= _MOST_BEAMS and candidates <= _MOST_CANDIDATES


def extend_beams(state: BeamTensors, rules: BeamRules, scores: Tensor, beams: Tensor, tokens: Tensor) -> None:
    """Continue the beams by the best candidates that do not end, and set aside those that do.

    Args:
        state: changed in place.
        rules: of the search.
        scores: float32 (B, C), of the candidates, best first.
        beams: (B, C), the beams that they continue.
        tokens: (B, C), the tokens that they append.
    """
    (sentences, count), most = beams.shape, state.scores.size(1)
    positions = state.ancestors.size(-1)
    _extend_beams[(sentences,)](
        scores, beams, tokens, state.scores, state.tokens, state.rows, state.finished_scores, state.finished_tokens,
        state.finished_rows, state.is_finished, state.may_improve, state.length, state.flags, state.ancestors,
        rules.ends, rules.divisors, 1.0 if rules.best_divisor is None else rules.best_divisor, rules.unused,
        rules.longest, positions,
        BEAMS=most, CANDIDATES=count, ENDS=len(rules.ends), HAS_BEST_DIVISOR=rules.best_divisor is not None,
        STOPS_WHEN_FULL=rules.stops_when_full, BEAM_SLOTS=triton.next_power_of_2(most),
        SLOTS=triton.next_power_of_2(count), PLACES=_PLACES, POSITIONS=_POSITIONS, num_warps=4,
    )  # fmt: skip
    _end_step[(1,)](
        state.may_improve, state.flags, state.length, sentences,
        STOPS_WHEN_FULL=rules.stops_when_full, BLOCK=128, num_warps=1,
    )  # fmt: skip


@triton.jit
def _is_end(token, ends, ENDS: tl.constexpr):
    found = token < 0
    for place in tl.static_range(ENDS):
        found = found | (token == tl.load(ends + place))
    return found


@triton.jit
def _move(
    running, finished, beam, new, its_old, is_old, its_beam, its_new, first, length, places, is_beam,
    BEAMS: tl.constexpr, PLACES: tl.constexpr,
):  # fmt: skip
    # Running beams continue ``beam`` with ``new`` at ``length``; finished ones stay, or are such continuations too.
    slot = tl.arange(0, is_beam.shape[0])
    for start in range(0, places, PLACES):
        place = start + tl.arange(0, PLACES)
        exists = is_beam[:, None] & (place < places)[None, :]
        is_new = place[None, :] == length
        of_running = tl.load(running + (first + beam)[:, None] * places + place[None, :], mask=exists, other=0)
        of_running = tl.where(is_new, new[:, None], of_running)
        old = exists & is_old[:, None]
        of_finished = tl.load(finished + (first + its_old)[:, None] * places + place[None, :], mask=old, other=0)
        taken = exists & ~is_old[:, None]
        of_taken = tl.load(running + (first + its_beam)[:, None] * places + place[None, :], mask=taken, other=0)
        of_taken = tl.where(is_new, its_new[:, None], of_taken)
        of_finished = tl.where(is_old[:, None], of_finished, of_taken)
        tl.debug_barrier()  # all is read before any of it is overwritten
        target = (first + slot)[:, None] * places + place[None, :]
        tl.store(running + target, of_running, mask=exists)
        tl.store(finished + target, of_finished, mask=exists)


@triton.jit(do_not_specialize=["best_divisor", "unused", "longest"])
def _extend_beams(
    scores, beams, tokens, running_scores, running_tokens, running_rows, finished_scores, finished_tokens,
    finished_rows, is_finished, may_improve, length, flags, ancestors,
    ends, divisors, best_divisor, unused, longest, positions,
    BEAMS: tl.constexpr, CANDIDATES: tl.constexpr, ENDS: tl.constexpr, HAS_BEST_DIVISOR: tl.constexpr,
    STOPS_WHEN_FULL: tl.constexpr, BEAM_SLOTS: tl.constexpr, SLOTS: tl.constexpr, PLACES: tl.constexpr,
    POSITIONS: tl.constexpr,
):  # fmt: skip
    sentence = tl.program_id(0).to(tl.int64)
    first, first_candidate = sentence * BEAMS, sentence * CANDIDATES
    slot, candidate = tl.arange(0, BEAM_SLOTS), tl.arange(0, SLOTS)
    is_beam, exists = slot < BEAMS, candidate < CANDIDATES
    written = tl.load(length).to(tl.int32)
    divisor = tl.load(divisors + written)  # of outputs that have one token more now
    is_longest = written + 1 >= longest

    # The best candidates that go on.
    score = tl.load(scores + first_candidate + candidate, mask=exists, other=0.0)
    token = tl.load(tokens + first_candidate + candidate, mask=exists, other=0)
    is_end = _is_end(token, ends, ENDS)
    found = _greatest(_in_order(tl.where(is_end, score + unused, score), candidate, exists), BEAMS, BEAM_SLOTS)
    running_score, chosen = _value_and_index(found)
    chosen = tl.where(is_beam, chosen, 0)

    # The best of the finished beams, and of those that end now and are among the first K.
    was_finished = tl.load(is_finished + first + slot, mask=is_beam, other=1) != 0
    was_closed = tl.load(may_improve + sentence) == 0
    is_closed = was_closed
    if STOPS_WHEN_FULL:
        is_closed = is_closed | (tl.min(was_finished.to(tl.int32), 0) != 0)
    is_set_aside = (is_end | is_longest) & (candidate < BEAMS)
    ended_score = tl.div_rn(score, divisor)
    ended_score = tl.where(is_closed, ended_score + unused, ended_score)
    ended_score = tl.where(is_set_aside, ended_score, ended_score + unused)
    # Of equal scores the first index wins: what ends now, even if it has the score of an empty entry, then those.
    index = tl.where(is_set_aside, candidate, candidate + CANDIDATES + BEAMS)
    ended = _in_order(ended_score, index, exists)
    old_score = tl.load(finished_scores + first + slot, mask=is_beam, other=0.0)
    old = _in_order(old_score, slot + CANDIDATES, is_beam)
    found = tl.full([BEAM_SLOTS], -9223372036854775808, tl.int64)
    for place in range(BEAMS):
        greatest = tl.maximum(tl.max(old, 0), tl.max(ended, 0))
        found = tl.where(slot == place, greatest, found)
        old = tl.where(old == greatest, -9223372036854775808, old)
        ended = tl.where(ended == greatest, -9223372036854775808, ended)
    finished_score, kept = _value_and_index(found)
    is_old = is_beam & (kept >= CANDIDATES) & (kept < CANDIDATES + BEAMS)
    kept_old = tl.where(is_old, kept - CANDIDATES, 0)
    kept_candidate = tl.where(is_beam & ~is_old, kept % (CANDIDATES + BEAMS), 0)
    its_beam = tl.load(beams + first_candidate + kept_candidate)
    its_token = tl.load(tokens + first_candidate + kept_candidate)
    is_new_end = (_is_end(its_token, ends, ENDS) | is_longest) & (kept_candidate < BEAMS)
    was_kept = tl.load(is_finished + first + kept_old, mask=is_beam, other=1) != 0
    is_now_finished = tl.where(is_old, was_kept, is_new_end) | ~is_beam

    # Whether the best running beam may still beat the worst finished one.
    best = tl.max(tl.where(is_beam, running_score, float("-inf")), 0)
    worst = tl.min(tl.where(is_beam, finished_score, float("inf")), 0)
    if HAS_BEST_DIVISOR:
        divisor = best_divisor
    best_possible = tl.div_rn(best, divisor)
    beats = is_beam & (best_possible > tl.where(is_now_finished, worst, unused))
    improves = ~was_closed & (tl.max(beats.to(tl.int32), 0) != 0)
    is_full = tl.min(is_now_finished.to(tl.int32), 0) != 0
    is_done = is_full
    if not STOPS_WHEN_FULL:
        is_done = is_full & ~improves

    # Move all to its new place.
    beam = tl.load(beams + first_candidate + chosen)
    new = tl.load(tokens + first_candidate + chosen)
    _move(
        running_tokens, finished_tokens, beam, new, kept_old, is_old, its_beam, its_token, first, written,
        longest, is_beam, BEAMS, PLACES,
    )  # fmt: skip
    _move(
        running_rows, finished_rows, beam, first + beam, kept_old, is_old, its_beam, first + its_beam, first,
        written - 1, longest - 1, is_beam, BEAMS, PLACES,
    )  # fmt: skip
    for start in range(0, written * BEAMS, POSITIONS):
        position = start + tl.arange(0, POSITIONS)
        within = is_beam[:, None] & (position < written * BEAMS)[None, :]
        seen = tl.load(ancestors + (first + beam)[:, None] * positions + position[None, :], mask=within)
        tl.debug_barrier()
        tl.store(ancestors + (first + slot)[:, None] * positions + position[None, :], seen, mask=within)
    tl.debug_barrier()
    tl.store(running_scores + first + slot, running_score, mask=is_beam)
    tl.store(finished_scores + first + slot, finished_score, mask=is_beam)
    tl.store(is_finished + first + slot, is_now_finished, mask=is_beam)
    tl.store(may_improve + sentence, improves)
    tl.store(flags + sentence, is_done)


@triton.jit(do_not_specialize=["sentences"])
def _end_step(may_improve, flags, length, sentences, STOPS_WHEN_FULL: tl.constexpr, BLOCK: tl.constexpr):
    # Whether the search is over, and one token more.
    any_improves = 0
    all_done = 1
    for start in range(0, sentences, BLOCK):
        sentence = start + tl.arange(0, BLOCK)
        improves = tl.load(may_improve + sentence, mask=sentence < sentences, other=0)
        done = tl.load(flags + sentence, mask=sentence < sentences, other=1)
        any_improves = tl.maximum(any_improves, tl.max(improves.to(tl.int32), 0))
        all_done = tl.minimum(all_done, tl.min(done.to(tl.int32), 0))
    is_over = any_improves == 0
    if STOPS_WHEN_FULL:
        is_over = is_over | (all_done != 0)
    tl.store(flags + sentences, is_over)
    tl.store(length, tl.load(length) + 1)
