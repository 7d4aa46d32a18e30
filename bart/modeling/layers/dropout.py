"""Dropout (Srivastava et al. 2014) with random numbers that are cheap on a CPU.

On a CPU torch draws one floating-point number per element, on one core: for BART-base a quarter of a second per step.
Here torch's generator draws one seed for each use, and numpy's SFC64 (by Doty-Humphrey) draws 16 bits per element from
it. So the probability is rounded to a multiple of 2^-16; kept elements are scaled by the rounded one, so that the mean
is exact.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16  # values that the probability can have


class Dropout(nn.Dropout):
    """Dropout as in torch; on a CPU it is faster, and the same seed drops other elements."""

    def forward(self, states: Tensor) -> Tensor:
        """Drop elements of ``states``, of any shape, in training."""
        if not self.training or self.p == 0:
            return states
        if states.device.type != "cpu" or self.p == 1 or torch.compiler.is_compiling():
            return F.dropout(states, self.p)
        dropped: Tensor = _CpuDropout.apply(states, self.p)  # type: ignore[no-untyped-call]
        return dropped


class _CpuDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, probability: float) -> Tensor:
        keep = draw_kept(states.shape, probability, np.random.SFC64(draw_seed()))
        ctx.save_for_backward(keep)
        ctx.scale = kept_scale(probability)
        return _scale_kept(states, keep, ctx.scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _scale_kept(gradient, keep, ctx.scale), None


def draw_seed() -> int:
    """Draw a seed from torch's generator, so that its state determines every number that is drawn."""
    return int(torch.randint(2**63 - 1, (), device="cpu"))


def draw_kept(shape: torch.Size, probability: float, bits: np.random.SFC64) -> Tensor:
    """Draw which elements a dropout keeps.

    Args:
        shape: of the result.
        probability: with which an element is dropped.
        bits: the random numbers; the same state draws the same elements again.

    Returns:
        uint8, on the CPU: 1 for kept elements, 0 for dropped ones
    """
    count = shape.numel()
    numbers = bits.random_raw(-(-count // 4)).view(np.int16)[:count]
    lowest_kept = np.int16(_dropped_levels(probability) - _LEVELS // 2)
    keep = numbers >= lowest_kept  # numpy compares six times as fast as torch
    return torch.from_numpy(keep).view(torch.uint8).view(shape)


def kept_scale(probability: float) -> float:
    """Return the factor for kept elements."""
    return _LEVELS / (_LEVELS - _dropped_levels(probability))


def _dropped_levels(probability: float) -> int:
    """Return how many of ``_LEVELS`` are dropped; at least one is kept."""
    return min(round(probability * _LEVELS), _LEVELS - 1)


def _scale_kept(states: Tensor, keep: Tensor, scale: float) -> Tensor:
    """Multiply kept elements by ``scale``, and dropped ones by 0."""
    return keep.to(states.dtype).mul_(scale).mul_(states)
