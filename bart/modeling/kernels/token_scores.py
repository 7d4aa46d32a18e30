"""The end of a search step on a GPU: bans in place, and the best continuations without a row of log probabilities.

At 64 sentences of 6 beams the logits of a step are 39 MB in 16 bits, so a pass over them takes 9 us on an H200. These
kernels make two passes and change only what is banned, while log_softmax, top-k and processors that return new scores
make about thirty, most of them in float32.

The best continuations come in two stages. The first finds the maximum of each chunk of 128 columns. As many chunks with
the highest maxima as continuations are wanted must contain these: the second stage reads no other.

Shapes: B sentences, K beams, R = B * K rows, V vocabulary, C continuations, L places for tokens, P parts of a row.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_CHUNK = 128  # columns
_CHUNKS = 64  # of a program: its 16 KB in 16 bits are 64 bytes a thread, enough loads under way to fill the memory bus
_PART = _CHUNK * _CHUNKS  # columns of a program
_WARPS = 8
_MOST_CHUNKS = 32768  # of a sentence, in the registers of the one program that chooses among them
_MOST_CONTINUATIONS = 64


def can_choose(beams: int, vocabulary: int, count: int) -> bool:
    """Return whether ``best_continuations`` can choose ``count`` among K beams and V tokens."""
    is_small = triton.next_power_of_2(beams) * triton.next_power_of_2(triton.cdiv(vocabulary, _CHUNK)) <= _MOST_CHUNKS
    return is_small and count <= min(_MOST_CONTINUATIONS, beams * vocabulary)


def normalizers(logits: Tensor) -> Tensor:
    """Compute of each part of each row the maximum, and the sum of the exponentials of what is below it.

    Args:
        logits: (R, V), the last dimension contiguous.

    Returns:
        float32 (2, R, P); together they give the logarithm of the sum of each row's exponentials
    """
    rows, columns = logits.shape
    parts = triton.cdiv(columns, _PART)
    found = torch.empty(2, rows, parts, dtype=torch.float32, device=logits.device)
    _normalizers[(rows, parts)](
        logits, logits.stride(0), found[0], found[1], columns, parts, PART=_PART, num_warps=_WARPS
    )
    return found


def best_continuations(
    scores: Tensor, normalizers: Tensor | None, beam_scores: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the best continuations of all beams of a sentence. Of equal ones the first by beam, then by token, wins.

    Args:
        scores: (R, V), the last dimension contiguous: logits, or log probabilities.
        normalizers: of the logits, from ``normalizers``; None: the scores are log probabilities.
        beam_scores: float32 (B, K), added to the log probabilities of each beam.
        count: C; ``can_choose`` must be true.

    Returns:
        the sums, float32 (B, C), best first; the beams that they continue (B, C), and the tokens (B, C)
    """
    (sentences, beams), (rows, columns) = beam_scores.shape, scores.shape
    chunks, parts = triton.cdiv(columns, _CHUNK), triton.cdiv(columns, _PART)
    maxima = torch.empty(rows, chunks, dtype=torch.float32, device=scores.device)
    _chunk_maxima[(rows, parts)](
        scores, scores.stride(0), maxima, columns, chunks, CHUNKS=_CHUNKS, CHUNK=_CHUNK, num_warps=_WARPS
    )
    chosen = torch.empty(sentences, count, dtype=torch.float32, device=scores.device)
    of_beams, tokens = (torch.empty(sentences, count, dtype=torch.long, device=scores.device) for _ in range(2))
    has_normalizers = normalizers is not None
    part_maxima, part_sums = (maxima, maxima) if normalizers is None else (normalizers[0], normalizers[1])
    wide, high = triton.next_power_of_2(chunks), triton.next_power_of_2(beams)
    _choose[(sentences,)](
        scores, scores.stride(0), maxima, part_maxima, part_sums, beam_scores.contiguous(), chosen, of_beams, tokens,
        columns, chunks, parts, beams,
        HAS_NORMALIZERS=has_normalizers, BEAMS=high, CHUNKS=wide, PARTS=triton.next_power_of_2(parts), CHUNK=_CHUNK,
        COUNT=count, SLOTS=triton.next_power_of_2(count),
        # A thread holds at most 16 of the 4,096 chunks of six beams, each in two registers.
        num_warps=min(16, max(4, high * wide // 512)),
    )  # fmt: skip
    return chosen, of_beams, tokens


def ban_repeated_ngrams(scores: Tensor, tokens: Tensor, length: Tensor, size: int) -> None:
    """Set to -inf, in place, the scores of tokens that would complete an n-gram a second time.

    Args:
        scores: (R, V), the last dimension contiguous.
        tokens: (R, L), of which the first ``length`` count.
        length: (1,).
        size: n.
    """
    rows, places = tokens.shape
    tokens = tokens.contiguous()
    _ban_repeated_ngrams[(rows,)](
        scores, scores.stride(0), tokens, length, places, SIZE=size, PLACES=triton.next_power_of_2(places), num_warps=1
    )


def allow_only(
    scores: Tensor, normalizers: Tensor | None, token_ids: Tensor, length: Tensor, position: int
) -> None:
    """If ``length`` is ``position``, set all log probabilities to -inf, and those of some tokens to 0, in place.

    At any other length the programs end at once.

    Args:
        scores: (R, V), the last dimension contiguous.
        normalizers: of ``scores``, changed too; None: there are none.
        token_ids: (n,), the tokens with log probability 0.
        length: (1,).
        position: the length at which this happens.
    """
    rows, columns = scores.shape
    parts = triton.cdiv(columns, _PART)
    part_maxima, part_sums = (scores, scores) if normalizers is None else (normalizers[0], normalizers[1])
    _allow_only[(rows, parts)](
        scores, scores.stride(0), part_maxima, part_sums, token_ids, length, position, columns, parts,
        HAS_NORMALIZERS=normalizers is not None, COUNT=len(token_ids), PART=_PART, num_warps=_WARPS,
    )  # fmt: skip


@triton.jit
def _columns(row, column, end, columns):
    # The float32 numbers of a row at ``column``, all of which are below ``end``; -inf behind the row. A mask that does
    # not end at a multiple of 8 would split each load of 16 bytes into eight: only the last part of a row has one.
    if end <= columns:
        values = tl.load(row + column).to(tl.float32)
    else:
        values = tl.load(row + column, mask=column < columns, other=float("-inf")).to(tl.float32)
    return values


# Where the sums begin depends on the number of sentences, and one variant of each kernel is enough.
@triton.jit(do_not_specialize_on_alignment=["sums"])
def _normalizers(logits, row_stride, maxima, sums, columns, parts, PART: tl.constexpr):
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    values = _columns(logits + row * row_stride, part * PART + tl.arange(0, PART), (part + 1) * PART, columns)
    highest = tl.max(values, 0)
    # A part of nothing but -inf has no sum.
    total = tl.where(highest == float("-inf"), 0.0, tl.sum(tl.exp(values - highest), 0))
    tl.store(maxima + row * parts + part, highest)
    tl.store(sums + row * parts + part, total)


@triton.jit
def _chunk_maxima(scores, row_stride, maxima, columns, chunks, CHUNKS: tl.constexpr, CHUNK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    chunk = tl.program_id(1) * CHUNKS + tl.arange(0, CHUNKS)
    column = chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    end = (tl.program_id(1) + 1) * CHUNKS * CHUNK
    values = _columns(scores + row * row_stride, column, end, columns)
    tl.store(maxima + row * chunks + chunk, tl.max(values, 1), mask=chunk < chunks)


@triton.jit
def _in_order(values, index, exists):
    # One number for a float32 and its index, of which the greatest is that of the greatest float with the least index.
    # A negative float's other bits are inverted, so that floats are in the order of their bits, -inf included.
    bits = values.to(tl.int32, bitcast=True)
    order = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(tl.int64)
    return tl.where(exists, (order << 32) | (0x7FFFFFFF - index).to(tl.int64), -9223372036854775808)


@triton.jit
def _value_and_index(numbers):
    order = (numbers >> 32).to(tl.int32)
    value = tl.where(order < 0, order ^ 0x7FFFFFFF, order).to(tl.float32, bitcast=True)
    return value, 0x7FFFFFFF - (numbers & 0x7FFFFFFF).to(tl.int32)


@triton.jit
def _greatest(numbers, COUNT: tl.constexpr, SLOTS: tl.constexpr):
    # The COUNT greatest of different numbers (n,), greatest first: (SLOTS,), then the least of all numbers. If fewer
    # exist, the rest is the least one too.
    slot = tl.arange(0, SLOTS)
    found = tl.full([SLOTS], -9223372036854775808, tl.int64)
    for place in range(COUNT):
        greatest = tl.max(numbers, 0)
        found = tl.where(slot == place, greatest, found)
        numbers = tl.where(numbers == greatest, -9223372036854775808, numbers)
    return found


@triton.jit(do_not_specialize_on_alignment=["part_sums"])
def _choose(
    scores, row_stride, maxima, part_maxima, part_sums, beam_scores, chosen, of_beams, tokens,
    columns, chunks, parts, beams,
    HAS_NORMALIZERS: tl.constexpr, BEAMS: tl.constexpr, CHUNKS: tl.constexpr, PARTS: tl.constexpr,
    CHUNK: tl.constexpr, COUNT: tl.constexpr, SLOTS: tl.constexpr,
):  # fmt: skip
    # One program chooses for one sentence. Sums are (logit - normalizer) + beam score in this order everywhere, so that
    # a chunk's maximum is rounded as its best entry is.
    sentence = tl.program_id(0).to(tl.int64)
    beam = tl.arange(0, BEAMS)
    is_beam = beam < beams
    first_row = sentence * beams
    beam_score = tl.load(beam_scores + first_row + beam, mask=is_beam, other=0.0)
    normalizer = tl.zeros([BEAMS], tl.float32)
    if HAS_NORMALIZERS:
        part = tl.arange(0, PARTS)
        place = (first_row + beam)[:, None] * parts + part[None, :]
        exists = is_beam[:, None] & (part < parts)[None, :]
        highest = tl.load(part_maxima + place, mask=exists, other=float("-inf"))
        total = tl.load(part_sums + place, mask=exists, other=0.0)
        of_row = tl.where(is_beam, tl.max(highest, 1), 0.0)
        shares = tl.where(exists, total * tl.exp(highest - of_row[:, None]), 0.0)
        normalizer = of_row + tl.log(tl.where(is_beam, tl.sum(shares, 1), 1.0))

    # The chunks with the highest maxima.
    chunk = tl.arange(0, CHUNKS)
    exists = is_beam[:, None] & (chunk < chunks)[None, :]
    place = (first_row + beam)[:, None] * chunks + chunk[None, :]
    highest = tl.load(maxima + place, mask=exists, other=0.0)
    highest = (highest - normalizer[:, None]) + beam_score[:, None]
    index = beam[:, None] * CHUNKS + chunk[None, :]
    numbers = tl.reshape(_in_order(highest, index, exists), [BEAMS * CHUNKS])
    found = _greatest(numbers, COUNT, SLOTS)
    is_found = found != -9223372036854775808
    _, index = _value_and_index(found)
    index = tl.where(is_found, index, 0)
    its_beam, its_chunk = index // CHUNKS, index % CHUNKS

    # The best entries of these chunks.
    is_its = its_beam[:, None] == beam[None, :]
    normalizer = tl.sum(tl.where(is_its, normalizer[None, :], 0.0), 1)
    beam_score = tl.sum(tl.where(is_its, beam_score[None, :], 0.0), 1)
    column = its_chunk[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    exists = is_found[:, None] & (column < columns)
    start = (first_row + its_beam) * row_stride
    values = tl.load(scores + start[:, None] + column, mask=exists, other=0.0).to(tl.float32)
    values = (values - normalizer[:, None]) + beam_score[:, None]
    numbers = tl.reshape(_in_order(values, its_beam[:, None] * columns + column, exists), [SLOTS * CHUNK])
    value, index = _value_and_index(_greatest(numbers, COUNT, SLOTS))
    slot = tl.arange(0, SLOTS)
    place = sentence * COUNT + slot
    tl.store(chosen + place, value, mask=slot < COUNT)
    tl.store(of_beams + place, (index // columns).to(tl.int64), mask=slot < COUNT)
    tl.store(tokens + place, (index % columns).to(tl.int64), mask=slot < COUNT)


@triton.jit
def _ban_repeated_ngrams(
    scores, row_stride, tokens, length, places, SIZE: tl.constexpr, PLACES: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    written = tl.load(length).to(tl.int32)
    start = tl.arange(0, PLACES)  # of an n-gram
    is_banned = start + SIZE <= written
    for offset in tl.static_range(SIZE - 1):
        token = tl.load(tokens + row * places + start + offset, mask=is_banned, other=-1)
        is_long = written >= SIZE
        last = tl.load(tokens + row * places + written - (SIZE - 1) + offset, mask=is_long, other=-2)
        is_banned = is_banned & (token == last)
    token = tl.load(tokens + row * places + start + SIZE - 1, mask=is_banned, other=0)
    tl.store(scores + row * row_stride + token, float("-inf"), mask=is_banned)


@triton.jit(do_not_specialize=["position"], do_not_specialize_on_alignment=["part_sums"])
def _allow_only(
    scores, row_stride, part_maxima, part_sums, token_ids, length, position, columns, parts,
    HAS_NORMALIZERS: tl.constexpr, COUNT: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    if tl.load(length) == position:
        row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
        column = part * PART + tl.arange(0, PART)
        is_allowed = column < 0
        for place in range(COUNT):
            is_allowed = is_allowed | (column == tl.load(token_ids + place))
        values = tl.where(is_allowed, 0.0, float("-inf"))
        tl.store(scores + row * row_stride + column, values, mask=column < columns)
        if HAS_NORMALIZERS:  # their logarithm becomes 0
            tl.store(part_maxima + row * parts + part, 0.0)
            tl.store(part_sums + row * parts + part, tl.where(part == 0, 1.0, 0.0))
