"""Linear layers of the same input in one product, in training on a GPU.

Forward and backward, n layers then take one product each for the output, the gradient of the input and that of the
weights, instead of n. The gradients of the input need not be added, nor that of a residual connection beside them.

Shapes: D model.
"""

from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def project_together(kernels: ModuleType, states: Tensor, *linears: nn.Linear) -> tuple[Tensor, ...]:
    """Apply one to three linear layers from D to D.

    Args:
        kernels: from ``triton_kernels``.
        states: (..., D).
        linears: the layers, all with biases.

    Returns:
        a view (..., D) for each layer, in the type of ``states``; then the states themselves, for a residual
        connection. What comes back as their gradient is overwritten: nothing else may refer to it
    """
    parameters = [linear.weight for linear in linears] + [linear.bias for linear in linears]
    outputs: tuple[Tensor, ...] = _JointProjection.apply(kernels, states, *parameters)  # type: ignore[no-untyped-call]
    return outputs


def add_product(total: Tensor | None, gradient: Tensor, weight: Tensor) -> Tensor:
    """Compute total + gradient weight, in place of ``total`` if there is one: (..., D) from (N, F) and (F, D)."""
    return gradient @ weight if total is None else total.flatten(0, -2).addmm_(gradient, weight)


def join_parameters(*linears: nn.Linear) -> tuple[Tensor, Tensor]:
    """Concatenate the weights and biases of linear layers for inference, and make their parameters views of the result.

    Returns:
        (n * D, D) and (n * D)
    """
    with torch.no_grad():
        weight = torch.cat([linear.weight for linear in linears])
        bias = torch.cat([linear.bias for linear in linears])
    parts = zip(linears, weight.chunk(len(linears)), bias.chunk(len(linears)), strict=True)
    for linear, weight_part, bias_part in parts:
        linear.weight.data, linear.bias.data = weight_part, bias_part
    return weight, bias


class _JointProjection(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kernels: ModuleType, states: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        """Project with weights and biases, which are concatenated and cast at once."""
        count, size = len(parameters) // 2, states.size(-1)
        weight, bias = states.new_empty(count * size, size), states.new_empty(count * size)
        torch._foreach_copy_([*weight.chunk(count), *bias.chunk(count)], parameters)
        ctx.save_for_backward(states, weight)
        ctx.kernels, ctx.dtype = kernels, parameters[0].dtype
        ctx.set_materialize_grads(False)  # of states that are not used
        with torch.autocast(states.device.type, enabled=False):
            return *F.linear(states, weight, bias).chunk(count, -1), states.view_as(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight = ctx.saved_tensors
        *given, residual_gradient = gradients
        count, (_, wants_states, *wanted) = len(given), ctx.needs_input_grad
        gradient, sums = ctx.kernels.join_gradients(given)
        weight_gradients: tuple[Tensor | None, ...] = (None,) * count
        if any(wanted[:count]):
            weight_gradients = (gradient.t() @ states.flatten(0, -2)).to(ctx.dtype).chunk(count)
        states_gradient: Tensor | None = None
        if wants_states:  # at last, since it may overwrite a gradient that is also the branch's
            states_gradient = add_product(residual_gradient, gradient, weight).view_as(states)
        return None, states_gradient, *weight_gradients, *sums.to(ctx.dtype).chunk(count)
