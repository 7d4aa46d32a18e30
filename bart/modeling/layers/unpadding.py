"""Removing padding, so that layers compute nothing for it.

Only attention relates tokens to each other. The rest of a layer treats each token separately, so padding can be left
out there (as in Zhai et al. 2022, https://arxiv.org/abs/2210.03052, section 3.2).
Shapes: B texts, L padded length, N tokens of all texts without padding, D model.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Unpadding:
    """Moves the tokens of a batch between padded rows and one row without padding."""

    def __init__(self, indices: Tensor, shape: torch.Size) -> None:
        """Remember the tokens that are not padding.

        Args:
            indices: (N,) int64, rising: their indices in the flattened batch.
            shape: (B, L), of the padded batch.
        """
        self.indices, self.shape = indices, shape

    def positions(self) -> Tensor:
        """Return the position of each token in its text, from 0: (N,)."""
        return self.indices % self.shape[1]

    def pad(self, states: Tensor) -> Tensor:
        """Pad with zeros: (N, D) to (B, L, D)."""
        padded: Tensor = _Moved.apply(states, self.spread, self.collect)  # type: ignore[no-untyped-call]
        return padded

    def unpad(self, states: Tensor) -> Tensor:
        """Drop the padding: (B, L, D) to (N, D)."""
        tokens: Tensor = _Moved.apply(states, self.collect, self.spread)  # type: ignore[no-untyped-call]
        return tokens

    def spread(self, tokens: Tensor) -> Tensor:
        """Pad, without gradients: (N, D) to (B, L, D)."""
        flat = tokens.new_zeros(self.shape.numel(), tokens.size(-1))
        return flat.index_copy_(0, self.indices, tokens).view(*self.shape, -1)

    def collect(self, padded: Tensor) -> Tensor:
        """Unpad, without gradients: (B, L, D) to (N, D)."""
        return padded.flatten(0, 1).index_select(0, self.indices)


class _Moved(torch.autograd.Function):
    """Moves states by ``move`` and gradients by ``back``: faster than autograd, which adds gradients row by row."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, move: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.back = back
        return move(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None
