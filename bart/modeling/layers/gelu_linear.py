"""GELU and a linear layer in one function, which needs less memory in training.

Shapes: D model, F feed-forward size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def gelu_linear(hidden: Tensor, linear: nn.Linear) -> Tensor:
    """Compute linear(gelu(hidden)): (..., F) to (..., D).

    The backward pass computes the GELU again, which is cheap. So neither its result nor, under autocast, the cast
    weight is kept until then.
    """
    output: Tensor = _GeluLinear.apply(hidden, linear.weight, linear.bias)  # type: ignore[no-untyped-call]
    return output


class _GeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(hidden, weight, bias)
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(F.gelu(hidden), weight.to(hidden.dtype), bias.to(hidden.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        hidden, weight, bias = ctx.saved_tensors
        rows = gradient.flatten(0, -2)
        hidden_gradient = weight_gradient = bias_gradient = None
        if ctx.needs_input_grad[0]:
            activated_gradient = gradient @ weight.to(hidden.dtype)
            hidden_gradient = torch.ops.aten.gelu_backward(activated_gradient, hidden)
        if ctx.needs_input_grad[1]:
            weight_gradient = (rows.t() @ F.gelu(hidden).flatten(0, -2)).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            bias_gradient = rows.sum(0).to(bias.dtype)
        return hidden_gradient, weight_gradient, bias_gradient
