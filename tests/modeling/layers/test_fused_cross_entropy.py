"""The loss without logits against the one by way of them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bart.modeling.layers import aligned_vocabulary
from bart.modeling.layers import fused_cross_entropy as module
from bart.modeling.layers.aligned_vocabulary import AlignedOutput
from bart.modeling.layers.fused_cross_entropy import cross_entropy_and_predictions, fused_cross_entropy
from bart.modeling.modeling_bart import IGNORE_INDEX
from tests.random_models import model_pair

V, D, N = 37, 6, 23


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    states, weight = torch.randn(N, D, dtype=dtype), torch.randn(V, D, dtype=dtype)
    return states.requires_grad_(), weight.requires_grad_(), torch.randn(V, dtype=dtype), torch.randint(0, V, (N,))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [1, 4 * V, 2**20])
def test_agrees_with_torch(at_once: int, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)
    states, weight, bias, labels = inputs()
    ours = fused_cross_entropy(states, weight, bias, labels, smoothing)
    theirs = F.cross_entropy(F.linear(states, weight, bias), labels, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    gradients = [torch.autograd.grad(loss * 0.3, (states, weight)) for loss in (ours, theirs)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("at_once", [1, 4 * V, 2**20])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_validation_has_the_loss_and_the_likeliest_tokens(
    at_once: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)
    states, weight, bias, labels = (given.detach() for given in inputs())
    states, weight, bias = states.to(dtype), weight.to(dtype), bias.to(dtype)
    loss, predictions = cross_entropy_and_predictions(states, weight, bias, labels)
    logits = F.linear(states, weight, bias)
    expected = F.cross_entropy(logits.double(), labels, reduction="sum")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert predictions.tolist() == logits.argmax(-1).tolist()
    nothing, none = cross_entropy_and_predictions(states[:0], weight, bias, labels[:0])
    assert nothing == 0 and len(none) == 0


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_under_autocast(dtype: torch.dtype) -> None:
    """Close to float64 by the type's own precision; the gradients have their tensors' types."""
    states, weight, bias, labels = inputs(torch.float32)
    with torch.autocast("cpu", dtype):
        loss = fused_cross_entropy(states, weight, bias, labels, 0.1)
    exact = [tensor.detach().double().requires_grad_() for tensor in (states, weight)]
    expected = F.cross_entropy(F.linear(*exact, bias.double()), labels, reduction="sum", label_smoothing=0.1)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected.item(), rel=0.01)
    for found, wanted in zip(
        torch.autograd.grad(loss, (states, weight)), torch.autograd.grad(expected, exact), strict=True
    ):
        assert found.dtype == torch.float32 and (found - wanted).norm() < 0.01 * wanted.norm()


@pytest.mark.usefixtures("kernels_on_cpu", "rows")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_by_the_kernel(dtype: torch.dtype, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In portions: the same loss, gradients and predictions, close to float64 by the type's own precision."""
    monkeypatch.setattr(module, "LOGITS_AT_ONCE_BY_KERNEL", 8 * V)
    states, weight, bias, labels = inputs(torch.float32)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        loss = fused_cross_entropy(states, weight, bias, labels, smoothing)
        score, predictions = cross_entropy_and_predictions(states.detach(), weight.detach(), bias, labels)
    exact = [tensor.detach().double().requires_grad_() for tensor in (states, weight)]
    logits = F.linear(*exact, bias.double())
    expected = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=smoothing)
    rel = 1e-5 if dtype == torch.float32 else 0.01
    assert loss.item() == pytest.approx(expected.item(), rel=rel)
    assert score.item() == pytest.approx(F.cross_entropy(logits, labels, reduction="sum").item(), rel=rel)
    assert (predictions == logits.argmax(-1)).float().mean() > 0.9
    for found, wanted in zip(
        torch.autograd.grad(loss, (states, weight)), torch.autograd.grad(expected, exact), strict=True
    ):
        assert found.dtype == torch.float32 and (found - wanted).norm() < rel * wanted.norm()


@pytest.mark.usefixtures("kernels_on_cpu")
def test_the_kernel_leaves_no_other_tensor_of_the_logits_size() -> None:
    """Those of a step with 2,400 target tokens take 240 MB in 16 bits."""
    states, weight, bias, labels = inputs(torch.float32)
    with Sizes() as sizes, torch.autocast("cpu", torch.bfloat16):
        fused_cross_entropy(states, weight, bias, labels, 0.1)
    assert sizes.made.count(N * V) == 1


class Sizes(TorchDispatchMode):
    """Notes the number of entries of every new tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        known = {given.untyped_storage().data_ptr() for given in args if isinstance(given, Tensor)}
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in known:
            self.made.append(result.numel())
        return result


def test_a_frozen_weight_gets_no_gradient() -> None:
    states, weight, bias, labels = inputs()
    weight.requires_grad_(False)
    fused_cross_entropy(states, weight, bias, labels, 0.1).backward()
    assert weight.grad is None and states.grad.abs().min() > 0


def test_no_tokens() -> None:
    """A stand-in's gradients are there, for DDP, and are zero."""
    states, weight, bias, labels = inputs()
    loss = fused_cross_entropy(states[:0], weight, bias, labels[:0], 0.1)
    loss.backward()
    assert loss == 0 and (states.grad == 0).all() and (weight.grad == 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_of_a_model(seed: int) -> None:
    """Padded sources and targets; all gradients."""
    pair = model_pair(seed)
    model = pair.ours
    labels = torch.randint(4, model.config.vocab_size, (len(pair.input_ids), 7))
    labels[0, 3:] = IGNORE_INDEX
    expected = model(pair.input_ids, pair.attention_mask, labels=labels).loss * (labels != IGNORE_INDEX).sum()
    wanted = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    loss = model.loss_sum(pair.input_ids, pair.attention_mask, labels)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_aligned_rows_change_no_logit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their number nor, but for rounding, their values."""
    monkeypatch.setattr(aligned_vocabulary, "_DEVICES", {"cpu"})
    model = model_pair(3).ours
    ids = torch.randint(4, model.config.vocab_size, (2, 9))
    expected = model(ids, decoder_input_ids=ids).logits.detach()
    assert isinstance(model.prepack().prepacked_output, AlignedOutput)
    found = model(ids, decoder_input_ids=ids).logits.detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    weight, bias = aligned_vocabulary.align_vocabulary(torch.ones(65, 3), torch.ones(65))
    assert weight.shape == (128, 3) and weight[65:].eq(0).all() and bias.shape == (128,)
