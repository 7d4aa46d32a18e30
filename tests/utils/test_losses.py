import pytest
import torch

from bart.modeling.modeling_bart import IGNORED_LABEL
from utils.losses import summed_cross_entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_by_hand(smoothing: float) -> None:
    """Two tokens and padding; probabilities 1/2, 1/4, 1/4."""
    logits = torch.tensor([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.9, 0.05, 0.05]]], dtype=torch.float64).log()
    labels = torch.tensor([[0, 2, IGNORED_LABEL]])
    half, quarter = torch.tensor([0.5, 0.25], dtype=torch.float64).log()
    mean = (half + 2 * quarter) / 3
    expected = -((1 - smoothing) * (half + quarter) + smoothing * 2 * mean)
    torch.testing.assert_close(summed_cross_entropy(logits, labels, smoothing), expected)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits, labels = torch.randn(64, 40, 50, dtype=torch.bfloat16), torch.randint(0, 50, (64, 40))
    loss = summed_cross_entropy(logits, labels, 0.1)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), summed_cross_entropy(logits.double(), labels, 0.1), rtol=1e-5, atol=0)


def test_padding_alone_costs_nothing() -> None:
    logits = torch.randn(1, 4, 9, requires_grad=True)
    loss = summed_cross_entropy(logits, torch.full((1, 4), IGNORED_LABEL), 0.1)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()
