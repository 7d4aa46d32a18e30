"""Dropout (Srivastava et al. 2014) with random numbers that are cheap on a CPU.

torch draws one floating-point decision per element there, on one core: for BART-base a quarter of a second per step.
Here torch's generator draws a seed for each use, and the numbers come from numpy's SFC64 (by Doty-Humphrey), 16 bits of
them for each element. The probability is thereby rounded to a multiple of 2^-16, and what is kept is scaled by the
rounded one, so that its mean stays exact.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16  # of the probability


class Dropout(nn.Dropout):
    """Like torch's, from which it differs in speed on a CPU, and there in what a seed draws."""

    def forward(self, states: Tensor) -> Tensor:
        """A tensor of any shape."""
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
    """From torch's generator, so that its seed and state decide on all that is drawn."""
    return int(torch.randint(2**63 - 1, (), device="cpu"))


def draw_kept(shape: torch.Size, probability: float, bits: np.random.SFC64) -> Tensor:
    """uint8, on the CPU: 1 for the elements that a dropout of ``probability`` keeps, 0 for the others."""
    count = shape.numel()
    numbers = bits.random_raw(-(-count // 4)).view(np.int16)[:count]
    lowest_kept = np.int16(_dropped_levels(probability) - _LEVELS // 2)
    keep = numbers >= lowest_kept  # before they are a tensor: numpy compares six times as fast
    return torch.from_numpy(keep).view(torch.uint8).view(shape)


def kept_scale(probability: float) -> float:
    """What kept elements are multiplied by."""
    return _LEVELS / (_LEVELS - _dropped_levels(probability))


def _dropped_levels(probability: float) -> int:
    """Of ``_LEVELS``, one of which at least is kept."""
    return min(round(probability * _LEVELS), _LEVELS - 1)


def _scale_kept(states: Tensor, keep: Tensor, scale: float) -> Tensor:
    """``states`` times ``scale`` where they are kept, 0 elsewhere."""
    return keep.to(states.dtype).mul_(scale).mul_(states)
