"""Modules of torch in a row, computed by this project's kernels on a GPU.

Shapes: D model.
"""

from types import ModuleType

import torch.nn.functional as F
from torch import Tensor, nn

from bart.modeling.kernels.available import triton_kernels
from bart.modeling.layers.dropout import draw_seed


def kernels_instead_of(states: Tensor, *modules: nn.Module) -> ModuleType | None:
    """Return the kernels if they can compute on ``states`` what ``modules`` do, and nothing would miss their calls."""
    kernels = triton_kernels(states)
    return kernels if kernels is not None and all(map(is_plain, modules)) else None


def is_plain(module: nn.Module) -> bool:
    """Return whether a module is torch's own linear layer or LayerNorm, with all parameters and without hooks.

    Quantized layers and adapters are other classes, so what they add is not left out.
    """
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return type(module) in (nn.Linear, nn.LayerNorm) and module.bias is not None and not any(hooks)


def project_add_norm(
    inputs: Tensor, linear: nn.Linear, dropout: nn.Dropout, residual: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """Compute norm(residual + dropout(linear(inputs))): the end of a sublayer.

    Args:
        inputs: (..., F).
        linear: projects F to D.
        dropout: of its output.
        residual: (..., D).
        norm: of the sum.

    Returns:
        (..., D). With kernels it has the type of the product, which is autocast's
    """
    kernels = kernels_instead_of(residual, linear, norm)
    if kernels is None or dropout.p == 1:
        states: Tensor = norm(residual + dropout(linear(inputs)))
        return states
    return add_norm(kernels, F.linear(inputs, linear.weight), linear.bias, dropout, residual, norm)


def add_norm(
    kernels: ModuleType, branch: Tensor, bias: Tensor, dropout: nn.Dropout, residual: Tensor, norm: nn.LayerNorm
) -> Tensor:
    """Compute norm(residual + dropout(branch + bias)) from tensors (..., D), with the kernels."""
    probability = dropout.p if dropout.training else 0.0
    seed = draw_seed() if probability > 0 else 0
    states: Tensor = kernels.add_norm(branch, bias, residual, norm.weight, norm.bias, probability, norm.eps, seed)
    return states
