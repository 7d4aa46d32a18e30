"""Leaving padding out, so that layers compute nothing for it.

Only attention looks at whole texts. All else in a layer is computed for each token by itself, and so only for tokens
that are no padding (as in Zhai et al. 2022, https://arxiv.org/abs/2210.03052, section 3.2).
Shapes: B texts, L padded length, N tokens of all texts without padding, D model.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Unpadding:
    """Moves the tokens of a batch between padded rows and one row without padding."""

    def __init__(self, indices: Tensor, shape: torch.Size) -> None:
        """indices: (N,) int64, rising, among the B * L of ``shape``, which is (B, L)."""
        self.indices, self.shape = indices, shape

    def positions(self) -> Tensor:
        """The position of each token in its text, from 0: (N,)."""
        return self.indices % self.shape[1]

    def pad(self, states: Tensor) -> Tensor:
        """Pad with zeros: (N, D) -> (B, L, D)."""
        padded: Tensor = _Moved.apply(states, self.spread, self.collect)  # type: ignore[no-untyped-call]
        return padded

    def unpad(self, states: Tensor) -> Tensor:
        """Drop the padding: (B, L, D) -> (N, D)."""
        tokens: Tensor = _Moved.apply(states, self.collect, self.spread)  # type: ignore[no-untyped-call]
        return tokens

    def spread(self, tokens: Tensor) -> Tensor:
        """Pad, without gradients: (N, D) -> (B, L, D)."""
        flat = tokens.new_zeros(self.shape.numel(), tokens.size(-1))
        return flat.index_copy_(0, self.indices, tokens).view(*self.shape, -1)

    def collect(self, padded: Tensor) -> Tensor:
        """Unpad, without gradients: (B, L, D) -> (N, D)."""
        return padded.flatten(0, 1).index_select(0, self.indices)


class _Moved(torch.autograd.Function):
    """Moves states by ``move`` and gradients by ``back``; torch's own gradient of an index adds row by row."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, move: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.back = back
        return move(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None
