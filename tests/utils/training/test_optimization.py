import math
from collections.abc import Callable

import pytest
import torch
from torch.optim.lr_scheduler import LambdaLR
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
)

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from utils.cli.training_args import OPTIMIZERS, OptimizationSettings
from utils.training.optimization import FINAL_LEARNING_RATE, build_optimizer, build_schedule, clip_gradients, freeze


@pytest.fixture
def model() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    return BartForConditionalGeneration(tiny_config())


def frozen(model: BartForConditionalGeneration) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def test_frozen_embeddings(model: BartForConditionalGeneration) -> None:
    freeze(model, embeddings=True, encoder=False)
    sides = {f"model.{side}.embed_positions.weight" for side in ("encoder", "decoder")}
    assert frozen(model) == {"model.shared.weight", *sides}


def test_repeated_positions_are_trained_beside_frozen_tokens(model: BartForConditionalGeneration) -> None:
    freeze(model, embeddings=True, encoder=False, trains_positions=True)
    assert frozen(model) == {"model.shared.weight"}


def test_frozen_encoder(model: BartForConditionalGeneration) -> None:
    """The token embeddings are trained, because the decoder shares them."""
    freeze(model, embeddings=False, encoder=True)
    encoder = {name for name, _ in model.named_parameters() if name.startswith("model.encoder.")}
    assert frozen(model) == encoder
    freeze(model, embeddings=True, encoder=True)
    assert frozen(model) == encoder | {"model.shared.weight", "model.decoder.embed_positions.weight"}


def test_decay_goes_by_rank(model: BartForConditionalGeneration) -> None:
    """Embeddings and all other matrices are decayed, biases and norms are not, and frozen parameters are left out."""
    freeze(model, embeddings=False, encoder=True)
    optimizer = build_optimizer(model, OptimizationSettings(weight_decay=0.1))
    by_decay = {group["weight_decay"]: set(group["params"]) for group in optimizer.param_groups}
    trained = {parameter for parameter in model.parameters() if parameter.requires_grad}
    assert by_decay[0.1] == {parameter for parameter in trained if parameter.ndim == 2}
    assert by_decay[0.0] == {parameter for parameter in trained if parameter.ndim == 1}
    assert model.model.shared.weight in by_decay[0.1]
    assert model.model.decoder.layernorm_embedding.weight in by_decay[0.0]
    assert all(group["eps"] == 1e-8 for group in optimizer.param_groups)


def test_each_optimizer_has_a_class_of_its_own(model: BartForConditionalGeneration) -> None:
    built = {type(build_optimizer(model, OptimizationSettings(optimizer=name))) for name in OPTIMIZERS}
    assert len(built) == len(OPTIMIZERS)


@pytest.mark.parametrize(("name", "learning_rate"), [("adamw", 1e-2), ("lamb", 1e-1), ("adafactor", 1e-2)])
def test_optimizers_optimize(model: BartForConditionalGeneration, name: str, learning_rate: float) -> None:
    """LAMB needs another learning rate, because its steps are relative to the length of the weights."""
    optimizer = build_optimizer(
        model, OptimizationSettings(optimizer=name, learning_rate=learning_rate, weight_decay=0.0)
    )
    tokens = torch.randint(4, 400, (4, 12))
    losses = []
    for _ in range(8):
        loss = model(tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("name", "halfway", "end"),
    [
        ("polynomial", (1e-3 + FINAL_LEARNING_RATE) / 2, FINAL_LEARNING_RATE),
        ("linear", 5e-4, 0.0),
        ("cosine", 5e-4, 0.0),
        ("constant", 1e-3, 1e-3),
    ],
)
def test_schedules(name: str, halfway: float, end: float) -> None:
    """Each schedule has 100 steps, 10 of them for the warm-up."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = build_schedule(optimizer, OptimizationSettings(lr_scheduler=name, warmup_steps=10), 100)
    rates = []
    for _ in range(101):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0 and math.isclose(rates[5], 5e-4) and math.isclose(rates[10], 1e-3)
    assert math.isclose(rates[55], halfway) and math.isclose(rates[100], end, abs_tol=1e-12)


@pytest.mark.parametrize(("warmup", "total"), [(10, 100), (0, 7), (3, 4), (9, 5)])
@pytest.mark.parametrize(
    ("name", "reference", "settings"),
    [
        ("polynomial", get_polynomial_decay_schedule_with_warmup, {"lr_end": FINAL_LEARNING_RATE}),
        ("linear", get_linear_schedule_with_warmup, {}),
        ("cosine", get_cosine_schedule_with_warmup, {}),
        ("constant", get_constant_schedule_with_warmup, None),
    ],
)
def test_every_rate_is_that_of_transformers(
    name: str, reference: Callable[..., LambdaLR], settings: dict[str, float] | None, warmup: int, total: int
) -> None:
    """To the last bit, and both save the same."""
    ours, theirs = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4) for _ in range(2))
    schedule = build_schedule(ours, OptimizationSettings(lr_scheduler=name, warmup_steps=warmup), total)
    expected = reference(theirs, warmup) if settings is None else reference(theirs, warmup, total, **settings)
    for _ in range(total + 2):
        assert schedule.state_dict() == expected.state_dict()
        for optimizer, its_schedule in ((ours, schedule), (theirs, expected)):
            optimizer.step()
            its_schedule.step()


@pytest.mark.parametrize(("limit", "after"), [(1.0, 1.0), (100.0, 5.0), (0.0, 5.0)])
def test_clipping(limit: float, after: float) -> None:
    """The gradient has length 5 and is spread over two tensors."""
    tensors = [torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)]
    tensors[0].grad, tensors[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert clip_gradients(tensors, limit) == 5.0
    assert math.isclose(torch.cat([tensor.grad for tensor in tensors]).norm().item(), after, rel_tol=1e-5)
