"""The activated linear layer that computes its activation again, against torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bart.modeling.layers.gelu_linear import gelu_linear


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
