"""Layers with this project's Triton kernels on a GPU, as large as BART's, against torch's operations in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.kernels import available
from bart.modeling.modeling_bart import BartForConditionalGeneration, find_target_indices
from tests.tiny_setup import tiny_config

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("kernels_on_cpu")]

SHAPES = {"cuda": (1024, 5, 64), "cpu": (24, 2, 5)}  # size of the model, sequences, tokens
LARGEST_ERRORS = {torch.float32: 1e-4, torch.float16: 0.02, torch.bfloat16: 0.1}  # relative


def model_on(device: str, dropout: float = 0.0) -> BartForConditionalGeneration:
    torch.manual_seed(0)
    size = SHAPES[device][0]
    sizes = {"d_model": size, "encoder_ffn_dim": 4 * size, "decoder_ffn_dim": 4 * size, "dropout": dropout}
    config = tiny_config().copy(**sizes, attention_dropout=0.0, init_std=size**-0.5)
    return BartForConditionalGeneration(config).train().to(device)


def loss_and_gradients(model: BartForConditionalGeneration, dtype: torch.dtype) -> list[Tensor]:
    """Of the mean loss, so that float16 can hold the gradients."""
    torch.manual_seed(1)
    device, (_, rows, tokens) = model.device.type, SHAPES[model.device.type]
    labels = torch.randint(4, 400, (rows, tokens), device=device)
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        loss = model.loss_sum(labels.flip(0), None, labels) / labels.numel()
    return [loss.detach(), *torch.autograd.grad(64 * loss, list(model.parameters()))]


@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
def test_agrees_with_torch(dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_on(device)
    assert available.triton_kernels(model.model.shared.weight) is not None
    found = loss_and_gradients(model, dtype)
    monkeypatch.setattr(available, "_DEVICES", set())
    names = ["loss", *(name for name, _ in model.named_parameters())]
    for name, ours, exact in zip(names, found, loss_and_gradients(model, torch.float32), strict=True):
        if not name.endswith("k_proj.bias"):  # their gradients are 0
            assert (ours - exact).norm() <= LARGEST_ERRORS[dtype] * exact.norm(), name


@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
def test_computed_again(dtype: torch.dtype, device: str) -> None:
    """With dropout: gradient checkpointing draws the same masks."""
    model = model_on(device, dropout=0.1)
    expected = loss_and_gradients(model, dtype)
    model.enable_gradient_checkpointing()
    for found, wanted in zip(loss_and_gradients(model, dtype), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
def test_r_drop(dtype: torch.dtype, device: str) -> None:
    """Two predictions that dropout makes differ; losses and the states' gradient against the formula by autograd."""
    model = model_on(device, dropout=0.1)
    torch.manual_seed(1)
    _, rows, tokens = SHAPES[device]
    labels = torch.randint(4, 400, (rows, tokens), device=device)
    twice = torch.cat([labels, labels])
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
        torch.manual_seed(2)
        found = model.r_drop_loss_sum(labels.flip(0), None, labels, 5.0, 0.1)
        torch.manual_seed(2)
        states, targets = model._target_states(twice.flip(0), None, twice, find_target_indices(twice))
        logits = F.linear(states, model.model.shared.weight)
    log_p, log_q = logits.float().log_softmax(-1).chunk(2)
    divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum() / 2
    cross_entropy = F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=0.1) / 2
    expected = (cross_entropy + 5.0 / 2 * divergence, cross_entropy, divergence)
    assert divergence > 0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.item() == pytest.approx(theirs.item(), rel=LARGEST_ERRORS[dtype])
    names, parameters = zip(*model.named_parameters(), strict=True)
    gradients = [torch.autograd.grad(loss[0] / labels.numel(), parameters) for loss in (found, expected)]
    for name, ours, theirs in zip(names, *gradients, strict=True):
        if not name.endswith("k_proj.bias"):  # their gradients are 0
            assert (ours - theirs).norm() <= LARGEST_ERRORS[dtype] * theirs.norm(), name
