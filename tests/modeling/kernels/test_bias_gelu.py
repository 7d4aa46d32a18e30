"""Bias, GELU and a linear layer with this project's kernels, against torch in float64."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.kernels import bias_gelu
from tests.modeling.kernels.compile_for_gpus import Variant

TOLERANCES = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def given(dtype: torch.dtype, rows: int, size: int) -> list[Tensor]:
    """Product, bias, weight and the gradient of the result."""
    torch.manual_seed(0)
    product, gradient = 2 * torch.randn(rows, size).to(dtype), torch.randn(rows, 6).to(dtype)
    return [product, torch.randn(size), torch.randn(6, size) / size**0.5, gradient]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("rows", "size"), [(1, 8), (7, 100), (33, 96)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_agrees_with_torch(dtype: torch.dtype, rows: int, size: int, has_bias: bool) -> None:
    product, bias, weight, gradient = given(dtype, rows, size)
    inputs = [product, *([bias] if has_bias else []), weight]
    for tensor in inputs:
        tensor.requires_grad_()
    found = bias_gelu.bias_gelu_linear(product, bias if has_bias else None, weight)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    hidden = exact[0] + exact[1] if has_bias else exact[0]
    wanted = F.linear(F.gelu(hidden), exact[-1])
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])
    gradients = torch.autograd.grad(found, inputs, gradient)
    for tensor, ours, theirs in zip(
        inputs, gradients, torch.autograd.grad(wanted, exact, gradient.double()), strict=True
    ):
        assert ours.dtype == tensor.dtype
        tolerance = TOLERANCES[dtype] * max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance)


def test_is_gelu_everywhere() -> None:
    """As exact as float32 allows, in the tails too."""
    product = torch.linspace(-40, 40, 4001)[None]
    activated = bias_gelu._activate(product, None, clamp=False)
    torch.testing.assert_close(activated.double(), F.gelu(product.double()), rtol=2e-7, atol=3e-7)


def test_what_float16_cannot_hold_is_clamped_in_inference() -> None:
    """With gradients it is not, so that the overflow is found."""
    product = torch.tensor([[float("inf"), -float("inf"), 65000.0, 1.0]], dtype=torch.float16)
    bias, weight = torch.full((4,), 1000.0), torch.eye(4)
    output = bias_gelu.bias_gelu_linear(product, bias, weight)
    assert output.tolist() == [[65504, 0, 65504, 1001]]
    assert not bias_gelu.bias_gelu_linear(product, bias, weight.requires_grad_()).isfinite().all()


def test_frozen() -> None:
    product, bias, weight, _ = given(torch.float32, 3, 8)
    bias_gelu.bias_gelu_linear(product.requires_grad_(), bias, weight).sum().backward()
    assert weight.grad is None and bias.grad is None and product.grad.abs().max() > 0
    assert bias_gelu.bias_gelu_linear(product[:0], bias, weight).shape == (0, 6)


def variants() -> Iterator[Variant]:
    for dtype in ("bf16", "fp16", "fp32"):
        states, sums = f"*{dtype}", "*fp32"
        for has_bias in (True, False):
            types = {"product": states, "activated": states, "rows": "i32", "gradient": states, "sums": sums}
            types |= {"bias": f"*{dtype}"} if has_bias else {}
            constants = {"SIZE": 4096, "ROWS": 2, "COLUMNS": 1024, "HAS_BIAS": has_bias}
            constants |= {} if has_bias else {"bias": None}
            yield Variant(bias_gelu._bias_gelu_backward, types, constants)
            yield Variant(bias_gelu._bias_gelu, types, constants | {"CLAMP": dtype == "fp16"})


@pytest.mark.slow
def test_compiles_for_gpus(tmp_path: os.PathLike[str]) -> None:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-m", "tests.modeling.kernels.compile_for_gpus", __name__]
    subprocess.run(command, env=environment, check=True, timeout=300)
