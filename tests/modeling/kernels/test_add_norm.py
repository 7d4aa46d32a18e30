"""LayerNorm(residual + dropout(branch + bias)) with this project's kernels, against torch in float64."""


import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bart.modeling.kernels import add_norm as kernels
from bart.modeling.layers.dropout import draw_seed

TOLERANCES = {torch.float32: 4e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}
EPS = 1e-5


def add_norm(*inputs: Tensor | None, dropout: float) -> Tensor:
    """With a seed from torch's generator, as the layers draw it."""
    return kernels.add_norm(*inputs, dropout, EPS, draw_seed() if dropout else 0)


def given(dtype: torch.dtype, rows: int, size: int, residual_dtype: torch.dtype | None = None) -> list[Tensor]:
    """Branch, residual, weight and bias of the norm, bias of the branch: all of them want gradients."""
    torch.manual_seed(0)
    branch, residual = torch.randn(rows, size).to(dtype), torch.randn(rows, size).to(residual_dtype or dtype)
    weight, shift, bias = torch.randn(3, size)
    return [tensor.requires_grad_() for tensor in (branch, residual, weight, shift, bias)]


def masks(rows: int, size: int, dropout: float) -> Tensor:
    """Read from a branch of ones which elements are kept, and their factor: float64 (N, D).

    With a residual that is 0 and one row's mean and deviation known, an element is above the mean if it is kept.
    """
    output = add_norm(torch.ones(rows, size), None, torch.zeros(rows, size), *ones_zeros(size), dropout=dropout)
    return (output > 0).double() / (1 - dropout)


def ones_zeros(size: int) -> tuple[Tensor, Tensor]:
    return torch.ones(size), torch.zeros(size)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("rows", "size"), [(1, 8), (7, 100), (33, 96), (2, 1024), (3, 33)])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_agrees_with_torch(dtype: torch.dtype, rows: int, size: int, has_bias: bool, dropout: float) -> None:
    branch, residual, weight, shift, bias = inputs = given(dtype, rows, size)
    inputs = inputs if has_bias else inputs[:4]
    factors = torch.ones(rows, size, dtype=torch.float64)
    if dropout:
        torch.manual_seed(1)
        factors = masks(rows, size, dropout)
    torch.manual_seed(1)
    found = add_norm(branch, bias if has_bias else None, residual, weight, shift, dropout=dropout)

    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    added = exact[0] + exact[4] if has_bias else exact[0]
    wanted = F.layer_norm(exact[1] + added * factors, (size,), exact[2], exact[3], EPS)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), wanted, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype])

    gradient = torch.randn(rows, size).to(dtype)
    gradients = torch.autograd.grad(found, inputs, gradient)
    for tensor, ours, theirs in zip(
        inputs, gradients, torch.autograd.grad(wanted, exact, gradient.double()), strict=True
    ):
        assert ours.dtype == tensor.dtype
        tolerance = TOLERANCES[dtype] * max(1.0, theirs.abs().max().item())
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_types_may_differ(dropout: float) -> None:
    """As in the first layer under autocast: its residual is float32."""
    branch, residual, weight, shift, bias = given(torch.bfloat16, 5, 24, torch.float32)
    output = add_norm(branch, bias, residual, weight, shift, dropout=dropout)
    output.float().square().sum().backward()
    assert output.dtype == branch.grad.dtype == torch.bfloat16 and residual.grad.dtype == torch.float32
    if not dropout:
        torch.testing.assert_close(branch.grad.float(), residual.grad, rtol=1e-2, atol=1e-2)


def test_without_gradients() -> None:
    """The same, dropout included, and nothing is kept."""
    branch, residual, weight, shift, bias = given(torch.float32, 5, 24)
    for dropout in (0.0, 0.3):
        torch.manual_seed(1)
        expected = add_norm(branch, bias, residual, weight, shift, dropout=dropout)
        torch.manual_seed(1)
        with torch.no_grad():
            found = add_norm(branch, bias, residual, weight, shift, dropout=dropout)
        assert torch.equal(found, expected) and not found.requires_grad
    assert add_norm(branch[:0], bias, residual[:0], weight, shift, dropout=0.0).shape == (0, 24)


def test_strides_do_not_matter() -> None:
    branch, residual, weight, shift, bias = given(torch.float32, 6, 24)
    expected = add_norm(branch, bias, residual, weight, shift, dropout=0.0)
    gradient = torch.randn(24, 6).t()
    wanted = torch.autograd.grad(expected, (branch, residual), gradient.contiguous())
    strided = [tensor.detach().t().contiguous().t().requires_grad_() for tensor in (branch, residual)]
    found = add_norm(strided[0].view(6, 24), bias, strided[1], weight, shift, dropout=0.0)
    assert torch.equal(found, expected)
    for ours, theirs in zip(torch.autograd.grad(found, strided, gradient), wanted, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dropout", [0.1, 0.5])
def test_share_of_the_dropped(dropout: float) -> None:
    torch.manual_seed(0)
    rows, size = 20, 4000
    branch = torch.zeros(rows, size, requires_grad=True)
    residual = torch.randn(rows, size, requires_grad=True)
    add_norm(branch, None, residual, *ones_zeros(size), dropout=dropout).mul(torch.randn(rows, size)).sum().backward()
    kept = branch.grad != 0
    assert kept.double().mean().item() == pytest.approx(
        1 - dropout, abs=5 * (dropout * (1 - dropout) / kept.numel()) ** 0.5
    )
    torch.testing.assert_close(branch.grad[kept], residual.grad[kept] / (1 - dropout))


def test_neighbours_are_independent() -> None:
    """Also the four that one call of Philox decides on, which are a quarter of a row apart."""
    torch.manual_seed(0)
    rows, size = 60, 4096
    kept = (masks(rows, size, 0.5) > 0).double().flatten()
    for distance in (1, 2, 3, 4, 8, 1024, 2048, 3072, 4096, 8192):
        together = (kept[distance:] * kept[:-distance]).mean().item()
        assert together == pytest.approx(0.25, abs=0.004)
    other = (masks(rows, size, 0.5) > 0).double().flatten()
    assert (kept * other).mean().item() == pytest.approx(0.25, abs=0.004)


def test_follows_torchs_generator() -> None:
    torch.manual_seed(1)
    first, state, second = masks(5, 32, 0.5), torch.get_rng_state(), masks(5, 32, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(masks(5, 32, 0.5), second) and not torch.equal(first, second)
    masks(5, 32, 0.0)
    state = torch.get_rng_state()
    masks(5, 32, 0.0)
    assert torch.equal(torch.get_rng_state(), state)


def test_computed_again() -> None:
    """With gradient checkpointing, the mask is drawn again."""
    inputs = given(torch.float32, 5, 24)

    def twice(*tensors: Tensor) -> Tensor:
        branch, residual, weight, shift, bias = tensors
        states = add_norm(branch, bias, residual, weight, shift, dropout=0.3)
        return add_norm(states.sin(), bias, states, weight, shift, dropout=0.3)

    gradients = []
    for run in (twice, lambda *tensors: checkpoint(twice, *tensors, use_reentrant=False)):
        torch.manual_seed(1)
        gradients.append(torch.autograd.grad(run(*inputs).square().sum(), inputs))
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


def test_what_float16_cannot_hold_is_clamped_in_inference() -> None:
    """With gradients it is not, so that the overflow is found."""
    branch = torch.tensor([[float("inf"), 2.0, -1.0, 0.0], [-float("inf"), float("inf"), 0.0, 1.0]]).half()
    residual = torch.full((2, 4), 60000.0).half()
    wanted = F.layer_norm((branch + residual).double().clamp(-65504, 65504), (4,), eps=EPS)
    with torch.no_grad():
        found = add_norm(branch, None, residual, *ones_zeros(4), dropout=0.0)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-3, atol=1e-3)
    assert not add_norm(branch.requires_grad_(), None, residual, *ones_zeros(4), dropout=0.0).isfinite().any()
    branch = torch.tensor([[float("nan"), 2.0, -1.0, 0.0]]).half()
    with torch.no_grad():
        assert add_norm(branch, None, branch, *ones_zeros(4), dropout=0.0).isnan().all()
