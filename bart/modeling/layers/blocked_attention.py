"""Attention in blocks, for a CPU: torch's fast kernel takes no dropout there and is slow in bfloat16.

A block is a few sentences, a few heads of a long one, or some queries of one head of a very long one: its attention
weights fit into the processor's cache, whatever the length. The backward pass computes these weights again, so only
queries, keys and values are kept. On two cores of a Zen 4, a layer of BART base with 8 sentences of 256 tokens took
28 ms forward and backward in bfloat16 (torch: 46), with dropout 39 (torch: 94), and with dropout in float32 60 (torch:
88); in float32 without dropout both take 46. Forward alone, 4 sentences of 512 tokens took 18 ms in bfloat16 (torch:
24).

Shapes: B sentences, b sentences of a block, T queries, t queries of a block, S keys, H heads, Dh head size.
"""

import math
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bart.modeling.layers.dropout import draw_kept, draw_seed, kept_scale

_WEIGHTS_AT_ONCE = 2**20  # of a block: 2 or 4 MiB


def blocked_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, is_causal: bool
) -> Tensor:
    """Compute what torch's scaled_dot_product_attention does, with dropout of the weights.

    Args:
        queries: (B, H, T, Dh).
        keys: (B, H, S, Dh).
        values: (B, H, S, Dh).
        mask: bool (B, 1, 1, S), True if a key may be seen; None: all may be seen. A sentence that hides all of its
            keys gets zeros.
        dropout: probability with which an attention weight becomes 0.
        is_causal: query t sees only keys up to t.

    Returns:
        (B, H, T, Dh), laid out as (B, T, H, Dh)
    """
    attn_output: Tensor = _BlockedAttention.apply(  # type: ignore[no-untyped-call]
        queries, keys, values, mask, dropout, is_causal
    )
    return attn_output


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, is_causal: bool
    ) -> Tensor:
        ctx.save_for_backward(queries, keys, values, mask)
        ctx.is_causal, ctx.dropout = is_causal, dropout
        ctx.seed = draw_seed() if dropout > 0 else 0
        bits = np.random.SFC64(ctx.seed) if dropout > 0 else None

        # Attend block by block, in the type that queries, keys and values have.
        attn_output = _empty_like(queries)
        with torch.autocast("cpu", enabled=False):
            for group, rows in product(_groups(queries, keys), _rows(queries, keys)):
                hidden = None if mask is None else ~mask[group[0]]
                weights = _attention_weights(queries[*group, rows], keys[group], hidden, rows if is_causal else None)
                if bits is not None:
                    weights = _kept(weights, draw_kept(weights.shape, dropout, bits))
                attn_output[*group, rows] = weights @ values[group]

        if (blind := sees_nothing(mask)) is not None:
            attn_output.masked_fill_(blind, 0)
        return attn_output.mul_(kept_scale(dropout)) if dropout > 0 else attn_output

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, mask = ctx.saved_tensors
        bits = None
        if ctx.dropout > 0:
            bits = np.random.SFC64(ctx.seed)
            gradient = gradient * kept_scale(ctx.dropout)
        if (blind := sees_nothing(mask)) is not None:
            gradient = gradient.masked_fill(blind, 0)

        # Compute the weights of each block again, draw the same dropout, and go backward through both products.
        query_gradient, key_gradient, value_gradient = map(_empty_like, (queries, keys, values))
        scale = 1 / math.sqrt(queries.size(-1))
        for group in _groups(queries, keys):
            hidden = None if mask is None else ~mask[group[0]]
            key_sum: Tensor | None = None
            value_sum: Tensor | None = None
            for rows in _rows(queries, keys):
                block = (*group, rows)
                weights = _attention_weights(queries[block], keys[group], hidden, rows if ctx.is_causal else None)
                weight_gradient = gradient[block] @ values[group].transpose(-1, -2)
                used = weights
                if bits is not None:
                    keep = draw_kept(weights.shape, ctx.dropout, bits)
                    used, weight_gradient = _kept(weights, keep), _kept(weight_gradient, keep)
                value_sum = _added(value_sum, used.transpose(-1, -2) @ gradient[block])
                score_gradient = torch._softmax_backward_data(weight_gradient, weights, -1, weights.dtype).mul_(scale)
                query_gradient[block] = score_gradient @ keys[group]
                key_sum = _added(key_sum, score_gradient.transpose(-1, -2) @ queries[block])
            assert key_sum is not None and value_sum is not None
            key_gradient[group], value_gradient[group] = key_sum, value_sum
        return query_gradient, key_gradient, value_gradient, None, None, None


def lowest(scores: Tensor) -> float:
    """Return the score of a hidden key: its weight is 0 beside any visible key, and no row becomes NaN."""
    return torch.finfo(scores.dtype).min


def sees_nothing(mask: Tensor | None) -> Tensor | None:
    """Return the queries for which a mask (B, 1, T, S) hides every key: bool (B, 1, T, 1); None if there are none.

    Their attention must be zeros, as in torch's own function.
    """
    if mask is None:
        return None
    blind = ~mask.any(-1, keepdim=True)
    return blind if bool(blind.any()) else None


def _attention_weights(queries: Tensor, keys: Tensor, hidden: Tensor | None, causal_rows: slice | None) -> Tensor:
    """Compute the attention weights of a block: (b, H, t, S), each row of which sums to 1.

    ``causal_rows`` are the places of the queries if these see only keys up to their own.
    """
    scores = (queries * (1 / math.sqrt(queries.size(-1)))) @ keys.transpose(-1, -2)
    if hidden is not None:
        scores.masked_fill_(hidden, lowest(scores))
    if causal_rows is not None:
        scores.masked_fill_(torch.ones(scores.shape[-2:], dtype=torch.bool).triu_(1 + causal_rows.start), -math.inf)
    return scores.softmax(-1)


def _added(total: Tensor | None, part: Tensor) -> Tensor:
    """Add a part to a sum, in float32 at least: many roundings to 16 bits would add up."""
    return part if total is None else total.to(torch.promote_types(total.dtype, torch.float32)).add_(part)


def _kept(weights: Tensor, keep: Tensor) -> Tensor:
    """Return ``weights`` with 0 for those whose ``keep`` is 0; not scaled yet."""
    return keep.to(weights.dtype).mul_(weights)


def _groups(queries: Tensor, keys: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield slices of sentences and of heads: several sentences, or several heads of one."""
    sentences, heads, length, _ = queries.shape
    fitting = max(1, _WEIGHTS_AT_ONCE // (length * keys.size(2)))  # heads that fit into a block
    at_once = max(1, fitting // heads)
    for first in range(0, sentences, at_once):
        for first_head in range(0, heads, fitting):
            yield slice(first, first + at_once), slice(first_head, first_head + fitting)


def _rows(queries: Tensor, keys: Tensor) -> Iterator[slice]:
    """Yield slices of the queries: all of them, unless a single head is too large for a block."""
    at_once = max(1, _WEIGHTS_AT_ONCE // keys.size(2))
    for first in range(0, queries.size(2), at_once):
        yield slice(first, first + at_once)


def _empty_like(states: Tensor) -> Tensor:
    """Return an empty tensor (B, H, L, Dh) in which the heads of a token lie side by side in memory."""
    return states.new_empty(states.transpose(1, 2).shape).transpose(1, 2)
