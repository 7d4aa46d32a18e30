"""Gradients side by side and their sums, against torch; and the layers whose gradients they are."""


import pytest
import torch
from torch import nn

from bart.modeling.kernels import all_kernels, join_gradients
from bart.modeling.layers.joint_projection import project_together


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("rows", "size"), [(1, 8), (7, 100), (33, 96), (2, 1030)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_agrees_with_torch(dtype: torch.dtype, rows: int, size: int, count: int) -> None:
    torch.manual_seed(0)
    gradients = [torch.randn(rows, size).to(dtype) for _ in range(count)]
    gradients[-1] = gradients[-1].t().contiguous().t()
    joint, sums = join_gradients.join_gradients(gradients)
    expected = torch.cat(gradients, -1)
    assert torch.equal(joint, expected)
    torch.testing.assert_close(sums.double(), expected.double().sum(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("has_residual", [False, True])
def test_projection(dtype: torch.dtype | None, count: int, has_residual: bool) -> None:
    """As the layers one by one, and a residual beside them."""
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(count))
    states = torch.randn(2, 5, 6, dtype=dtype, requires_grad=True)
    results = []
    for joint in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            outputs = [*(layer(states) for layer in layers), states]
            if joint:
                outputs = project_together(all_kernels, states, *layers)
        used = outputs[: count + has_residual]
        loss = sum((output * (i + 1)).float().square().sum() for i, output in enumerate(used))
        results.append([*outputs, *torch.autograd.grad(loss, [states, *layers.parameters()])])
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        tolerance = (2e-2 if dtype else 2e-6) * max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance)
