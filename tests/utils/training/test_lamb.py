"""LAMB against the formulas of its paper, tensor by tensor."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from utils.training.lamb import Lamb

LEARNING_RATE, BETAS, EPSILON, DECAY = 0.05, (0.9, 0.99), 1e-6, 0.1


def paper_steps(weights: Tensor, gradients: list[Tensor], decay: float) -> Tensor:
    """Algorithm 2 of https://arxiv.org/abs/1904.00962, with the identity for its phi."""
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    for step, gradient in enumerate(gradients, start=1):
        mean = BETAS[0] * mean + (1 - BETAS[0]) * gradient
        square = BETAS[1] * square + (1 - BETAS[1]) * gradient**2
        ratio = (mean / (1 - BETAS[0] ** step)) / ((square / (1 - BETAS[1] ** step)).sqrt() + EPSILON)
        update = ratio + decay * weights
        weights = weights - LEARNING_RATE * weights.norm() / update.norm() * update
    return weights


def tensors(seed: int) -> list[Tensor]:
    """A matrix and a vector of weights; the matrix is longer than 10, the bound of LAMB's first version."""
    generator = torch.Generator().manual_seed(seed)
    return [100 * torch.randn(8, 6, generator=generator, dtype=torch.float64), torch.randn(5, generator=generator)]


def groups(weights: list[Tensor]) -> list[dict[str, Any]]:
    return [{"params": [weights[0]], "weight_decay": DECAY}, {"params": [weights[1]], "weight_decay": 0.0}]


def test_the_rule_of_the_paper() -> None:
    gradients = [tensors(seed) for seed in range(1, 7)]
    weights = [weight.clone().requires_grad_() for weight in tensors(0)]
    optimizer = Lamb(groups(weights), lr=LEARNING_RATE, betas=BETAS, eps=EPSILON)
    for of_step in gradients:
        for weight, gradient in zip(weights, of_step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()
    for index, decay in enumerate((DECAY, 0.0)):
        expected = paper_steps(tensors(0)[index], [of_step[index] for of_step in gradients], decay)
        torch.testing.assert_close(weights[index].detach(), expected)


def test_a_step_is_as_long_as_the_weights_allow() -> None:
    """A step has the length of the weights times the learning rate; if the weights are zero, it is Adam's."""
    weights = [torch.full((9,), 2.0, requires_grad=True), torch.zeros(4, requires_grad=True)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    Lamb(weights, lr=LEARNING_RATE).step()
    assert (weights[0] - 2.0).norm().item() == pytest.approx(LEARNING_RATE * 6.0)
    assert weights[1].norm().item() == pytest.approx(LEARNING_RATE * math.sqrt(4))


def test_its_state_goes_into_a_file_and_back() -> None:
    weights = [weight.clone().requires_grad_() for weight in tensors(0)]
    optimizer = Lamb(groups(weights), lr=LEARNING_RATE)
    for seed in range(1, 6):
        if seed == 3:
            other = Lamb(groups(weights), lr=LEARNING_RATE)
            other.load_state_dict(optimizer.state_dict())
            optimizer = other
        for weight, gradient in zip(weights, tensors(seed), strict=True):
            weight.grad = gradient
        optimizer.step()
    assert [group["step"] for group in optimizer.param_groups] == [5, 5]


def test_what_has_no_gradient_stays() -> None:
    weight = torch.ones(3, requires_grad=True)
    Lamb([weight], lr=LEARNING_RATE).step()
    assert torch.equal(weight, torch.ones(3))
