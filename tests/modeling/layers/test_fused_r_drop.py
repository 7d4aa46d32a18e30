"""The loss of R-Drop without logits against the paper's formula by way of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bart.modeling.layers import fused_r_drop as module
from bart.modeling.layers.fused_r_drop import fused_r_drop
from bart.modeling.modeling_bart import IGNORE_INDEX, find_target_indices
from tests.random_models import model_pair

V, D, N, ALPHA = 37, 6, 23, 0.7


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    states, weight = torch.randn(2, N, D, dtype=dtype), torch.randn(V, D, dtype=dtype)
    return states.requires_grad_(), weight.requires_grad_(), torch.randn(V, dtype=dtype), torch.randint(0, V, (N,))


def plain(logits: Tensor, labels: Tensor, smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    """Half of the paper's loss, the mean of both cross entropies, and that of both divergences, of logits (2, N, V)."""
    first, second = (F.cross_entropy(each, labels, reduction="sum", label_smoothing=smoothing) for each in logits)
    log_p, log_q = logits.log_softmax(-1)
    there = F.kl_div(log_q, log_p, log_target=True, reduction="sum")
    back = F.kl_div(log_p, log_q, log_target=True, reduction="sum")
    of_paper = first + second + ALPHA * (there + back) / 2
    return of_paper / 2, (first + second) / 2, (there + back) / 2


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("at_once", [1, 8 * V, 2**20])
def test_agrees_with_the_formula(at_once: int, smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)
    states, weight, bias, labels = inputs()
    ours = fused_r_drop(states, weight, bias, labels, smoothing, ALPHA)
    theirs = plain(F.linear(states, weight, bias), labels, smoothing)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found.detach(), expected.detach(), rtol=0, atol=1e-10)
    assert [loss.requires_grad for loss in ours] == [True, False, False]
    gradients = [torch.autograd.grad(losses[0] * 0.3, (states, weight)) for losses in (ours, theirs)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_under_autocast(dtype: torch.dtype) -> None:
    """Close to float64 by the type's own precision; the gradients have their tensors' types."""
    states, weight, bias, labels = inputs(torch.float32)
    with torch.autocast("cpu", dtype):
        losses = fused_r_drop(states, weight, bias, labels, 0.1, ALPHA)
    exact = [tensor.detach().double().requires_grad_() for tensor in (states, weight)]
    expected = plain(F.linear(*exact, bias.double()), labels, 0.1)
    for found, wanted in zip(losses, expected, strict=True):
        assert found.dtype == torch.float32 and found.item() == pytest.approx(wanted.item(), rel=0.01)
    for found, wanted in zip(
        torch.autograd.grad(losses[0], (states, weight)), torch.autograd.grad(expected[0], exact), strict=True
    ):
        assert found.dtype == torch.float32 and (found - wanted).norm() < 0.01 * wanted.norm()


def test_no_tensor_of_all_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", 8 * V)
    states, weight, bias, labels = inputs()
    with Largest() as sizes:
        fused_r_drop(states, weight, bias, labels, 0.1, ALPHA)
    assert sizes.largest == max(8 * V, 2 * N * D)  # logits of a portion, states


class Largest(TorchDispatchMode):
    """Notes the number of entries of the largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_a_frozen_weight_and_no_tokens() -> None:
    states, weight, bias, labels = inputs()
    fused_r_drop(states, weight.detach(), bias, labels, 0.1, ALPHA)[0].backward()
    assert weight.grad is None and states.grad.abs().min() > 0
    states.grad = None
    losses = fused_r_drop(states[:, :0], weight, bias, labels[:0], 0.1, ALPHA)
    losses[0].backward()  # the gradients of a dummy batch are there, for DDP
    assert all(loss == 0 for loss in losses) and (states.grad == 0).all() and (weight.grad == 0).all()


@pytest.mark.parametrize("is_padded", [True, False])
def test_of_a_model(is_padded: bool) -> None:
    """All gradients, with dropout: those of one pass of the batch beside itself, whose halves drop different states."""
    pair = model_pair(2)
    model = pair.ours.train()
    model.model.decoder.dropout.p = model.model.encoder.dropout.p = 0.3
    mask = pair.attention_mask if is_padded else None
    labels = torch.randint(4, model.config.vocab_size, (len(pair.input_ids), 7))
    labels[0, 3:] = IGNORE_INDEX

    torch.manual_seed(5)
    losses = model.r_drop_loss_sum(pair.input_ids, mask, labels, ALPHA, 0.1)
    assert losses[2] > 1e-3
    torch.manual_seed(5)
    twice, masks = torch.cat([labels, labels]), None if mask is None else torch.cat([mask, mask])
    sources, indices = torch.cat([pair.input_ids, pair.input_ids]), find_target_indices(twice)
    states, targets = model._target_states(sources, masks, twice, indices)
    logits = F.linear(states, model.model.shared.weight, model.final_logits_bias[0])
    expected = plain(logits.unflatten(0, (2, -1)), targets[: len(targets) // 2], 0.1)

    for found, wanted in zip(losses, expected, strict=True):
        torch.testing.assert_close(found.detach(), wanted.detach(), rtol=0, atol=1e-9)
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(each[0], parameters, allow_unused=True) for each in (losses, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)
