"""Dropout (Srivastava et al. 2014) with random numbers that are cheap on a CPU.

torch draws one floating-point decision per element there, on one core: for BART-base a quarter of a second per step.
Here each 64-bit random number decides on four elements. The probability is thereby rounded to a multiple of 2^-16, and
what is kept is scaled by the rounded one, so that its mean stays exact. Everything is drawn from torch's generator.
"""

from typing import Any

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
        if states.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(states, self.p)
        dropped: Tensor = _CpuDropout.apply(states, self.p)  # type: ignore[no-untyped-call]
        return dropped


class _CpuDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, probability: float) -> Tensor:
        keep = draw_kept(states.shape, probability)
        ctx.save_for_backward(keep)
        ctx.scale = kept_scale(probability)
        return scale_kept(states, keep, ctx.scale)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return scale_kept(gradient, keep, ctx.scale), None


def draw_kept(shape: torch.Size, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """uint8, on the CPU: 1 for the elements that a dropout of ``probability`` keeps, 0 for the others."""
    count = shape.numel()
    bits = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    lowest_kept = round(probability * _LEVELS) - _LEVELS // 2
    return (bits.view(torch.int16)[:count] >= lowest_kept).view(torch.uint8).view(shape)


def kept_scale(probability: float) -> float:
    """What kept elements are multiplied by."""
    return _LEVELS / (_LEVELS - round(probability * _LEVELS))


def scale_kept(states: Tensor, keep: Tensor, scale: float) -> Tensor:
    """``states`` times ``scale`` where they are kept, 0 elsewhere."""
    return keep.to(states.dtype).mul_(scale).mul_(states)
