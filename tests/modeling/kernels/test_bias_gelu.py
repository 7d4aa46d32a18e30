"""GELU of a product and its bias with this project's kernels, against torch in float64."""


import pytest
import torch
import torch.nn.functional as F

from bart.modeling.kernels import bias_gelu

TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("rows", "size"), [(1, 8), (7, 100), (33, 96), (3, 1030)])
def test_agrees_with_torch(dtype: torch.dtype, rows: int, size: int) -> None:
    torch.manual_seed(0)
    product, gradient = (factor * torch.randn(rows, size).to(dtype) for factor in (2, 1))
    bias = torch.randn(size)
    exact = [product.double().requires_grad_(), bias.double().requires_grad_()]
    wanted = F.gelu(exact[0] + exact[1])
    gradients = torch.autograd.grad(wanted, exact, gradient.double())
    found = bias_gelu.bias_gelu(product, bias)
    ours = bias_gelu.bias_gelu_backward(gradient, product, bias)
    assert torch.equal(found, ours[1]) and ours[0] is gradient and ours[2].dtype == torch.float32
    for result, expected in zip((found, ours[0], ours[2]), (wanted, *gradients), strict=True):
        tolerance = TOLERANCES[dtype] * max(1.0, expected.abs().max().item())
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=tolerance)


def test_is_gelu_everywhere() -> None:
    """As exact as float32 allows, in the tails too."""
    product = torch.linspace(-40, 40, 4001)[None]
    activated = bias_gelu.bias_gelu(product, torch.zeros(4001))
    torch.testing.assert_close(activated.double(), F.gelu(product.double()), rtol=2e-7, atol=3e-7)


def test_what_float16_cannot_hold_can_be_clamped() -> None:
    product = torch.tensor([[float("inf"), -float("inf"), 65000.0, 1.0, float("nan")]], dtype=torch.float16)
    bias = torch.full((5,), 1000.0)
    assert bias_gelu.bias_gelu(product[:, :4], bias[:4], clamp=True).tolist() == [[65504, 0, 65504, 1001]]
    assert bias_gelu.bias_gelu(product, bias).isfinite().sum() == 1
    assert bias_gelu.bias_gelu(product, bias, clamp=True)[0, 4].isnan()


def test_no_rows() -> None:
    nothing = torch.empty(0, 8)
    assert bias_gelu.bias_gelu(nothing, torch.zeros(8)).shape == (0, 8)
    assert bias_gelu.bias_gelu_backward(nothing, nothing, torch.zeros(8))[2].tolist() == [0] * 8
