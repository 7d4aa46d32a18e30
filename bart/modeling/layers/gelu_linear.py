"""GELU and a linear layer in one function, which needs less memory in training; with kernels, also the layer before.

Shapes: D model, F feed-forward size.
"""

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bart.modeling.layers.joint_projection import add_product


def gelu_linear(hidden: Tensor, linear: nn.Linear) -> Tensor:
    """Compute linear(gelu(hidden)): (..., F) to (..., D).

    The backward pass computes the GELU again, which is cheap. So neither its result nor, under autocast, the cast
    weight is kept until then.
    """
    output: Tensor = _GeluLinear.apply(hidden, linear.weight, linear.bias)  # type: ignore[no-untyped-call]
    return output


def gelu_feed_forward(
    kernels: ModuleType, states: Tensor, first: Tensor, bias: Tensor, second: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute gelu(states first^T + bias) second^T, of which the backward pass keeps only the first product.

    Args:
        kernels: from ``triton_kernels``.
        states: (..., D), in the type that products have; the weights are cast to it.
        first: (F, D).
        bias: (F,).
        second: (D, F).

    Returns:
        (..., D), then the states themselves, for a residual connection, as ``project_together`` does. In float16
        without gradients, the sum of product and bias is clamped to float16's range
    """
    if not torch.is_grad_enabled():  # autocast then keeps casts of the weights
        product = F.linear(states, first)
        return F.linear(kernels.bias_gelu(product, bias, product.dtype == torch.float16), second), states
    outputs: tuple[Tensor, Tensor] = _GeluFeedForward.apply(  # type: ignore[no-untyped-call]
        kernels, states, first, bias, second
    )
    return outputs


class _GeluFeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, kernels: ModuleType, states: Tensor, first: Tensor, bias: Tensor, second: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.autocast(states.device.type, enabled=False):
            product = F.linear(states, first.to(states.dtype))
            ctx.save_for_backward(states, product, first, bias, second)
            ctx.kernels = kernels
            activated = kernels.bias_gelu(product, bias)
            return F.linear(activated, second.to(states.dtype)), states.view_as(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor, residual_gradient: Tensor) -> tuple[Tensor | None, ...]:
        states, product, first, bias, second = ctx.saved_tensors
        _, wants_states, wants_first, _, wants_second = ctx.needs_input_grad
        states_gradient = first_gradient = second_gradient = None
        gradient = gradient.flatten(0, -2)
        hidden, activated, sums = ctx.kernels.bias_gelu_backward(
            gradient @ second.to(states.dtype), product.flatten(0, -2), bias
        )
        if wants_second:
            second_gradient = (gradient.t() @ activated).to(second.dtype)
        if wants_first:
            first_gradient = (hidden.t() @ states.flatten(0, -2)).to(first.dtype)
        if wants_states:  # at last, since it may overwrite ``gradient``
            states_gradient = add_product(residual_gradient, hidden, first.to(states.dtype)).view_as(states)
        return None, states_gradient, first_gradient, sums.to(bias.dtype), second_gradient


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
