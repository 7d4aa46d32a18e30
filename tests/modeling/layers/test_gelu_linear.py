"""The activated linear layer that computes its activation again, against torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bart.modeling.kernels import all_kernels
from bart.modeling.layers.gelu_linear import gelu_feed_forward, gelu_linear


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_agrees_with_torch(dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    linear, hidden = nn.Linear(11, 5), torch.randn(3, 7, 11)
    linear, hidden = (linear, hidden.to(dtype)) if dtype else (linear.double(), hidden.double())
    hidden.requires_grad_()
    results = []
    for compute in (lambda: gelu_linear(hidden, linear), lambda: linear(F.gelu(hidden))):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            output = compute()
        gradients = torch.autograd.grad(output.float().square().sum(), (hidden, *linear.parameters()))
        results.append((output, *gradients))
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(ours, theirs)


def test_frozen() -> None:
    linear, hidden = nn.Linear(4, 2).requires_grad_(False), torch.randn(3, 4, requires_grad=True)
    gelu_linear(hidden, linear).sum().backward()
    assert linear.weight.grad is None and hidden.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shared_gradient", [False, True])
def test_feed_forward_with_kernels(dtype: torch.dtype | None, shared_gradient: bool) -> None:
    """With the gradient of a residual, which may be the very tensor that is the gradient of the result."""
    torch.manual_seed(0)
    first, second = nn.Linear(6, 11), nn.Linear(11, 6, bias=False)
    states = torch.randn(3, 7, 6, dtype=dtype, requires_grad=True)
    gradient = torch.randn(3, 7, 6, dtype=dtype)
    residual_gradient = gradient if shared_gradient else torch.randn(3, 7, 6, dtype=dtype)
    results = []
    for kernels in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            output, residual = second(F.gelu(first(states))), states.view_as(states)
            if kernels:
                output, residual = gelu_feed_forward(all_kernels, states, first.weight, first.bias, second.weight)
        tensors = [states, *first.parameters(), *second.parameters()]
        given = [gradient.clone(), residual_gradient.clone()]
        if shared_gradient:
            given[1] = given[0]
        results.append([output, residual, *torch.autograd.grad([output, residual], tensors, given)])
    for theirs, ours in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        tolerance = (3e-2 if dtype else 2e-6) * max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
