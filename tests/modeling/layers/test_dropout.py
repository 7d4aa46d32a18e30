"""Dropout on the CPU: its share, its mean, its gradient, and that it follows torch's generator."""

import pytest
import torch

from bart.modeling.layers.dropout import Dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_share_and_scale(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    states = torch.full((333, 1001), 2.0, dtype=dtype, requires_grad=True)
    dropped = Dropout(0.3)(states)
    kept = dropped != 0
    assert dropped.dtype == dtype and dropped[kept].unique().item() == pytest.approx(2 / 0.7, rel=0.01)
    assert kept.double().mean().item() == pytest.approx(0.7, abs=5 * (0.21 / states.numel()) ** 0.5)
    dropped.sum().backward()
    assert torch.equal(states.grad != 0, kept) and states.grad[kept].unique().item() == pytest.approx(1 / 0.7, rel=0.01)


def test_neighbours_are_independent() -> None:
    """Also the four that a random number decides on."""
    torch.manual_seed(0)
    kept = (Dropout(0.5)(torch.ones(400_000)) != 0).double()
    for distance in (1, 2, 3, 4, 5, 8):
        assert (kept[distance:] * kept[:-distance]).mean().item() == pytest.approx(0.25, abs=0.004)


def test_follows_the_seed_and_its_state() -> None:
    dropout, states = Dropout(0.1), torch.ones(5, 7)
    torch.manual_seed(1)
    first, state, second = dropout(states), torch.get_rng_state(), dropout(states)
    torch.set_rng_state(state)
    assert torch.equal(dropout(states), second) and not torch.equal(first, second)
    assert dropout.eval()(states) is states and Dropout(0.0)(states) is states
    assert Dropout(0.1)(torch.ones(0, 7)).shape == (0, 7)


def test_all_can_be_dropped() -> None:
    assert Dropout(1.0)(torch.ones(300, 300)).count_nonzero() == 0
