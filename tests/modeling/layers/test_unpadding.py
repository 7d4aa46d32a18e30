"""Layers that compute nothing for the padding: the same losses and gradients."""

import pytest
import torch
from torch import Tensor

from bart.modeling.layers.unpadding import Unpadding
from bart.modeling.modeling_bart import IGNORE_INDEX, BartForConditionalGeneration
from tests.random_models import model_pair


def padded_batch(vocab_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Three texts of 9, 6 and 2 tokens and targets of 2, 5 and 4, and padding behind all of them."""
    generator = torch.Generator().manual_seed(0)
    sources = torch.randint(4, vocab_size, (3, 10), generator=generator)
    targets = torch.randint(4, vocab_size, (3, 6), generator=generator)
    mask = (torch.arange(10) < torch.tensor([9, 6, 2])[:, None]).long()
    labels = targets.masked_fill(torch.arange(6) >= torch.tensor([2, 5, 4])[:, None], IGNORE_INDEX)
    return sources.masked_fill(mask == 0, 1), mask, labels


def loss_and_gradients(
    model: BartForConditionalGeneration, batch: tuple[Tensor, Tensor | None, Tensor]
) -> list[Tensor]:
    model.zero_grad()
    loss = model.loss_sum(*batch, label_smoothing=0.1)
    loss.backward()
    return [loss.detach(), *(weight.grad.clone() for weight in model.parameters())]


@pytest.mark.parametrize("padded", ["both", "targets", "neither"])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_nothing_is_computed_for_padding_and_nothing_changes(
    padded: str, gradient_checkpointing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_pair(3).ours.double().train()
    model.apply(lambda module: setattr(module, "p", 0.0) if hasattr(module, "p") else None)  # no dropout
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    sources, mask, labels = padded_batch(model.config.vocab_size)
    batch = (sources, mask if padded == "both" else None, labels if padded != "neither" else labels.clamp(min=4))
    rows: list[int] = []
    handle = model.model.encoder.layers[0].fc1.register_forward_hook(
        lambda _, given, output: rows.append(given[0][..., 0].numel())
    )
    found = loss_and_gradients(model, batch)
    assert rows[0] == (17 if padded == "both" else 30)
    with monkeypatch.context() as patch:
        patch.setattr(BartForConditionalGeneration, "_suits_unpadding", lambda *_: False)
        expected = loss_and_gradients(model, batch)
    handle.remove()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_each_text_alone() -> None:
    """The loss of a batch is that of its texts, each without padding."""
    model = model_pair(3).ours.double().eval()
    sources, mask, labels = padded_batch(model.config.vocab_size)
    together = model.loss_sum(sources, mask, labels)
    alone = [
        model.loss_sum(source[None, : seen.sum()], None, target[None, : (target != IGNORE_INDEX).sum()])
        for source, seen, target in zip(sources, mask, labels, strict=True)
    ]
    torch.testing.assert_close(together, torch.stack(alone).sum())


@pytest.mark.parametrize("hidden", [(1, 2), (0, 0)], ids=["inside", "first"])
def test_a_label_that_does_not_count_may_be_anywhere(hidden: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows it reads it all the same."""
    model = model_pair(3).ours.double().eval()
    sources, mask, labels = padded_batch(model.config.vocab_size)
    labels[hidden] = IGNORE_INDEX
    found = model.loss_sum(sources, mask, labels)
    monkeypatch.setattr(BartForConditionalGeneration, "_suits_unpadding", lambda *_: False)
    torch.testing.assert_close(found, model.loss_sum(sources, mask, labels))


def test_pad_and_unpad() -> None:
    unpadding = Unpadding(torch.tensor([0, 1, 3]), torch.Size((2, 3)))
    states = torch.arange(1.0, 7.0).view(3, 2).requires_grad_()
    padded = unpadding.pad(states)
    assert padded.tolist() == [[[1, 2], [3, 4], [0, 0]], [[5, 6], [0, 0], [0, 0]]]
    assert unpadding.unpad(padded).tolist() == states.tolist()
    assert unpadding.positions().tolist() == [0, 1, 0]
    (gradient,) = torch.autograd.grad(padded, states, torch.arange(12.0).view(2, 3, 2))
    assert gradient.tolist() == [[0, 1], [2, 3], [6, 7]]
    padded = padded.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(unpadding.unpad(padded), padded, torch.ones(3, 2))
    assert gradient.tolist() == [[[1, 1], [1, 1], [0, 0]], [[1, 1], [0, 0], [0, 0]]]
