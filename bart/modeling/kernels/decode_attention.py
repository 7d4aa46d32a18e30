"""Attention of the few queries of a decoding step: the beams of a sentence, which share its keys and values.

A program computes one head of one sentence. Its queries are the rows of one tile, so every key and value is read once,
whatever the number of beams, and a key that no query may see is not read. If sentences and heads alone do not fill the
GPU, each of several programs takes a range of keys, and a second kernel combines their results
(https://pytorch.org/blog/flash-decoding/).

Reading keys and values is all that takes time: 268 MB in bfloat16 for a layer of 64 sentences of 1024 tokens and 16
heads of 64. To saturate an H100's memory, 24 KiB must be on the way to each of its 132 processors. Blocks are small, so
that all 1024 programs of such a layer run at once: a program of 64 threads has 16 KiB on the way (two blocks of 32 keys
and values; 20 KiB of shared memory, about 100 registers a thread), and a processor holds nine of them.

Shapes: B sentences, T queries (of all beams of a sentence), S keys, H heads, Dh head size.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

MOST_QUERIES = 16  # rows of the smallest tile that tensor cores take
_HEAD_SIZES = {16, 32, 64, 128}
_BLOCK = 32  # keys that are loaded at once
_WARPS = 2
_STAGES = 3  # blocks requested or in use
_SCANNED = {1: 2048, MOST_QUERIES: 256}  # keys whose mask is looked at together, by its rows

# Enough programs: four for each of an H100's 132 processors. Not asked of the device: results are the same everywhere.
_PROGRAMS = 4 * 132
_LEAST_KEYS = 128  # of a range: with fewer, the second kernel takes longer than what is saved
_MOST_SPLITS = 32

_NO_MASK, _BOOL_MASK, _FLOAT_MASK = 0, 1, 2
_LOWEST = tl.constexpr(torch.finfo(torch.float32).min)  # finite, so that a difference of two maxima is never NaN


def suits_decode_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> bool:
    """Return whether ``decode_attention`` can compute this; arguments as there."""
    sentences, _, count, head_size = queries.shape
    return (
        queries.numel() > 0
        and count <= MOST_QUERIES
        and head_size in _HEAD_SIZES
        and queries.dtype == keys.dtype == values.dtype
        and queries.stride(-1) == keys.stride(-1) == values.stride(-1) == 1
        and (mask is None or _is_shared_by_heads(mask, (sentences, count, keys.size(2))))
    )


def _is_shared_by_heads(mask: Tensor, shape: tuple[int, int, int]) -> bool:
    """Return whether a mask is (B or 1, 1, T or 1, S), of bool or floats; shape: B, T and S."""
    if mask.dim() != 4 or mask.size(1) != 1 or not (mask.dtype == torch.bool or mask.is_floating_point()):
        return False
    sentences, count, length = shape
    return mask.size(0) in (1, sentences) and mask.size(2) in (1, count) and mask.size(3) == length


def decode_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, splits: int | None = None
) -> Tensor:
    """Compute softmax(Q K^T / sqrt(Dh) + mask) V, without gradients; ``suits_decode_attention`` must be true.

    Args:
        queries: (B, H, T, Dh), float16, bfloat16 or float32; the last dimension is contiguous, here and below.
        keys: (B, H, S, Dh), of the same type.
        values: (B, H, S, Dh), likewise.
        mask: bool (B or 1, 1, T or 1, S), true if a query may see a key; or floats, added to the scores, -inf if it may
            not; None: all are seen. A query that sees no key gets zeros. Keys that no query sees are not read.
        splits: ranges that keys are divided into; None: as many as fill a GPU.

    Returns:
        (B, H, T, Dh), laid out as (B, T, H, Dh)
    """
    sentences, heads, count, head_size = queries.shape
    length, pairs = keys.size(2), sentences * heads
    if splits is None:
        splits = max(1, min(_PROGRAMS // pairs, length // _LEAST_KEYS, _MOST_SPLITS))
    span = triton.cdiv(triton.cdiv(length, splits), _BLOCK) * _BLOCK
    output = queries.new_empty(sentences, count, heads, head_size)

    # One range: the result. Several: float32 sums of weighted values, with the maximum and the sum of the weights.
    sums, statistics = output, output
    if splits > 1:
        sums = output.new_empty(pairs, splits, count, head_size, dtype=torch.float32)
        statistics = output.new_empty(2, pairs, splits, count, dtype=torch.float32)
    kind, mask_rows, mask_strides = _NO_MASK, 1, (0, 0, 1)
    if mask is not None:
        kind = _BOOL_MASK if mask.dtype == torch.bool else _FLOAT_MASK
        mask_rows = 1 if mask.size(2) == 1 else MOST_QUERIES
        by_sentence, _, by_query, by_key = mask.stride()
        mask_strides = (by_sentence if mask.size(0) > 1 else 0, by_query if mask.size(2) > 1 else 0, by_key)
    _attend[(pairs, splits)](
        *(queries, keys, values, queries if mask is None else mask, sums, statistics),
        *(head_size**-0.5, heads, count, length, span),
        *(*queries.stride()[:3], *keys.stride()[:3], *values.stride()[:3], *mask_strides),
        MASK=kind,
        MASK_ROWS=mask_rows,
        HEAD_SIZE=head_size,
        BLOCK=_BLOCK,
        SCANNED=_SCANNED[mask_rows],
        IS_SPLIT=splits > 1,
        num_warps=_WARPS,
        num_stages=_STAGES,
    )
    if splits > 1:
        _combine[(pairs * count,)](
            *(sums, statistics, output, heads, count, splits, pairs * splits * count),
            HEAD_SIZE=head_size,
            SPLITS=_MOST_SPLITS,
            num_warps=1,
        )
    return output.transpose(1, 2)


@triton.jit(do_not_specialize=["heads", "count", "length", "span"])
def _attend(
    queries,
    keys,
    values,
    mask,
    output,
    statistics,
    scale,
    heads,
    count,
    length,
    span,
    queries_by_sentence,
    queries_by_head,
    queries_by_row,
    keys_by_sentence,
    keys_by_head,
    keys_by_key,
    values_by_sentence,
    values_by_head,
    values_by_key,
    mask_by_sentence,
    mask_by_row,
    mask_by_key,
    MASK: tl.constexpr,
    MASK_ROWS: tl.constexpr,
    HEAD_SIZE: tl.constexpr,
    BLOCK: tl.constexpr,
    SCANNED: tl.constexpr,
    IS_SPLIT: tl.constexpr,
):
    """Attend to one range of keys, of one head of one sentence."""
    pair = tl.program_id(0).to(tl.int64)
    sentence, head = pair // heads, pair % heads
    row, channel = tl.arange(0, 16), tl.arange(0, HEAD_SIZE)
    is_query = row[:, None] < count
    queries += sentence * queries_by_sentence + head * queries_by_head
    keys += sentence * keys_by_sentence + head * keys_by_head
    values += sentence * values_by_sentence + head * values_by_head
    mask += sentence * mask_by_sentence
    query = tl.load(queries + row[:, None] * queries_by_row + channel[None, :], mask=is_query, other=0.0)

    # The range ends with the last key that is seen and begins with the first. Its mask is in the L1 cache from now on.
    first = tl.minimum(tl.program_id(1) * span, length)
    end = tl.minimum(first + span, length)
    if MASK != 0:
        low, high = end, first
        for start in range(first, end, SCANNED):
            key = start + tl.arange(0, SCANNED)
            is_seen = tl.max(_bias(mask, key, end, count, mask_by_row, mask_by_key, MASK, MASK_ROWS), 0) > -float("inf")
            low = tl.minimum(low, tl.min(tl.where(is_seen, key, end)))
            high = tl.maximum(high, tl.max(tl.where(is_seen, key + 1, first)))
        first, end = low, high

    # Softmax block by block: what was summed so far is scaled down if the maximum grows.
    maximum = tl.full((16,), _LOWEST, tl.float32)
    total = tl.zeros((16,), tl.float32)
    summed = tl.zeros((16, HEAD_SIZE), tl.float32)
    for start in tl.range(first, end, BLOCK):
        key = start + tl.arange(0, BLOCK)
        bias = _bias(mask, key, end, count, mask_by_row, mask_by_key, MASK, MASK_ROWS)
        is_seen = (tl.max(bias, 0) > -float("inf"))[:, None]
        place = key.to(tl.int64)[:, None]
        k = tl.load(keys + place * keys_by_key + channel[None, :], mask=is_seen, other=0.0)
        v = tl.load(values + place * values_by_key + channel[None, :], mask=is_seen, other=0.0)
        scores = tl.dot(query, tl.trans(k), input_precision="ieee") * scale + bias
        larger = tl.maximum(maximum, tl.max(scores, 1))
        weights = tl.exp(scores - larger[:, None])
        shrink = tl.exp(maximum - larger)
        total = total * shrink + tl.sum(weights, 1)
        summed = tl.dot(weights.to(v.dtype), v, summed * shrink[:, None], input_precision="ieee")
        maximum = larger

    if IS_SPLIT:
        place = (pair * tl.num_programs(1) + tl.program_id(1)) * count + row
        tl.store(output + place[:, None] * HEAD_SIZE + channel[None, :], summed, mask=is_query)
        plane = tl.num_programs(0).to(tl.int64) * tl.num_programs(1) * count
        tl.store(statistics + place, maximum, mask=row < count)
        tl.store(statistics + plane + place, total, mask=row < count)
    else:
        summed = summed / tl.where(total == 0, 1.0, total)[:, None]
        place = (sentence * count + row) * heads + head
        tl.store(
            output + place[:, None] * HEAD_SIZE + channel[None, :], summed.to(output.dtype.element_ty), mask=is_query
        )


@triton.jit
def _bias(mask, key, end, count, by_row, by_key, MASK: tl.constexpr, ROWS: tl.constexpr):
    """Return what is added to the scores of keys: float32 (ROWS, keys), -inf if hidden. ROWS: 1 if all rows agree."""
    row = tl.arange(0, ROWS)[:, None]
    is_inside = (row < count) & (key[None, :] < end)
    place = mask + row * by_row + key[None, :] * by_key
    if MASK == 0:
        bias = tl.where(is_inside, 0.0, -float("inf"))
    elif MASK == 1:
        bias = tl.where(tl.load(place, mask=is_inside, other=0) != 0, 0.0, -float("inf"))
    else:
        bias = tl.load(place, mask=is_inside, other=-float("inf")).to(tl.float32)
    return bias


@triton.jit(do_not_specialize=["heads", "count", "splits", "plane"])
def _combine(
    sums, statistics, output, heads, count, splits, plane, HEAD_SIZE: tl.constexpr, SPLITS: tl.constexpr
):
    """Combine the ranges of one query of one head."""
    pair, row = (tl.program_id(0) // count).to(tl.int64), tl.program_id(0) % count
    sentence, head = pair // heads, pair % heads
    split, channel = tl.arange(0, SPLITS), tl.arange(0, HEAD_SIZE)
    place = (pair * splits + split) * count + row
    is_split = split < splits
    maxima = tl.load(statistics + place, mask=is_split, other=_LOWEST)
    totals = tl.load(statistics + plane + place, mask=is_split, other=0.0)
    summed = tl.load(sums + place[:, None] * HEAD_SIZE + channel[None, :], mask=is_split[:, None], other=0.0)
    shrink = tl.exp(maxima - tl.max(maxima, 0))
    total = tl.sum(totals * shrink, 0)
    result = tl.sum(summed * shrink[:, None], 0) / tl.where(total == 0, 1.0, total)
    place = (sentence * count + row) * heads + head
    tl.store(output + place * HEAD_SIZE + channel, result.to(output.dtype.element_ty))
