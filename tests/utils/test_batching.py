from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from bart.errors import InputError
from utils.batching import BatchPlan, TrainingLoader, TrainingOrder, batches_by_length

EXAMPLES = 203


def order(**changes: object) -> TrainingOrder:
    rng = np.random.default_rng(0)
    return TrainingOrder(
        source_lengths=rng.integers(3, 100, EXAMPLES),
        target_lengths=rng.integers(3, 30, EXAMPLES),
        **{"batch_size": 4, "accumulation": 3, "seed": 5, "group_by_length": True, **changes},
    )


def epoch_plans(training_order: TrainingOrder, epoch: int = 0) -> list[BatchPlan]:
    per_epoch = training_order.steps_per_epoch * training_order.accumulation
    return list(training_order.plans(epoch * per_epoch, (epoch + 1) * per_epoch))


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize(("batch_size", "accumulation"), [(4, 3), (1, 1), (300, 2), (64, 5)])
def test_every_example_once_an_epoch(batch_size: int, accumulation: int, processes: int, group_by_length: bool) -> None:
    """On all processes together, with as many batches on each, and every step with its number of target tokens."""
    one = order(batch_size=batch_size, accumulation=accumulation, processes=processes, group_by_length=group_by_length)
    for epoch in (0, 1):
        plans = [epoch_plans(replace(one, rank=rank), epoch) for rank in range(processes)]
        assert len({len(of_rank) for of_rank in plans}) == 1
        counted = [row for of_rank in plans for plan in of_rank if not plan.is_stand_in for row in plan.rows.tolist()]
        assert sorted(counted) == list(range(EXAMPLES))
        for start in range(0, len(plans[0]), accumulation):
            step = [plan for of_rank in plans for plan in of_rank[start : start + accumulation]]
            tokens = sum(one.target_lengths[plan.rows].sum() for plan in step if not plan.is_stand_in)
            assert {plan.step_target_tokens for plan in step} == {tokens}
        assert all(1 <= len(plan.rows) <= batch_size for of_rank in plans for plan in of_rank)


@pytest.mark.parametrize("group_by_length", [True, False])
def test_steps_depend_on_the_product_alone(group_by_length: bool) -> None:
    def steps(**sizes: int) -> list[list[int]]:
        return [sorted(step.tolist()) for step in order(group_by_length=group_by_length, **sizes).steps(3)]

    expected = steps(batch_size=24, accumulation=1)
    assert expected == steps(batch_size=4, accumulation=6) == steps(batch_size=2, accumulation=3, processes=4)


def test_seed_and_epoch_decide() -> None:
    def rows(training_order: TrainingOrder, epoch: int = 0) -> list[list[int]]:
        return [plan.rows.tolist() for plan in epoch_plans(training_order, epoch)]

    assert rows(order()) == rows(order())
    assert rows(order()) != rows(order(seed=6))
    assert rows(order()) != rows(order(), epoch=1)


def test_plans_can_start_anywhere() -> None:
    whole = [plan.rows.tolist() for plan in order().plans(0, 120)]  # more than two epochs
    for first in (1, 17, 50, 51, 52, 119):
        assert [plan.rows.tolist() for plan in order().plans(first, 120)] == whole[first:]


def test_grouping_saves_padding() -> None:
    def padded_tokens(training_order: TrainingOrder) -> int:
        lengths = training_order.source_lengths
        return sum(int(lengths[plan.rows].max()) * len(plan.rows) for plan in epoch_plans(training_order))

    tokens = int(order().source_lengths.sum())
    assert padded_tokens(order()) < 1.1 * tokens < 1.5 * tokens < padded_tokens(order(group_by_length=False))


def test_evaluation_goes_from_long_to_short() -> None:
    lengths = np.array([5, 9, 7, 9, 1])
    assert [batch.tolist() for batch in batches_by_length(lengths, 2)] == [[1, 3], [2, 0], [4]]


@pytest.mark.parametrize("batch_size", [1, 8, 300])
def test_validation_interval(batch_size: int) -> None:
    """In micro-batches, whole steps: a fraction of an epoch up to 1, examples over all processes above."""
    training_order = order(batch_size=batch_size)
    per_epoch = training_order.steps_per_epoch * 3
    assert training_order.validation_interval(1.0) == per_epoch
    assert training_order.validation_interval(1e-9) == 3
    assert training_order.validation_interval(0.5) % 3 == 0
    examples = 5 * batch_size * 3
    assert training_order.validation_interval(examples) == (5 * 3 if examples > 1 else 3)
    assert replace(training_order, processes=5).validation_interval(examples) == 3


class Rows(Dataset[torch.Tensor]):
    """Gives the rows of a plan, with what only the right process can know."""

    def __getitem__(self, plan: BatchPlan) -> torch.Tensor:
        return torch.from_numpy(plan.rows)


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_goes_on_where_it_stood(workers: int) -> None:
    def loader() -> TrainingLoader:
        return TrainingLoader(Rows(), order(), 40, workers, pin_memory=False, data_checksum=1)

    whole = [rows.tolist() for rows in loader()]
    assert len(whole) == len(loader()) == 120
    interrupted = loader()
    first = [rows.tolist() for rows in islice(interrupted, 70)]
    resumed = loader()
    resumed.load_state_dict(interrupted.state_dict())
    assert first + [rows.tolist() for rows in resumed] == whole


def test_loader_leaves_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    next(iter(TrainingLoader(Rows(), order(), 5, 0, pin_memory=False, data_checksum=1)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("changes", "checksum", "named"), [({}, 2, "training data"), ({"processes": 2}, 1, "1 processes")]
)
def test_loader_refuses_another_run(changes: dict[str, int], checksum: int, named: str) -> None:
    state = TrainingLoader(Rows(), order(), 5, 0, pin_memory=False, data_checksum=1).state_dict()
    other = TrainingLoader(Rows(), order(**changes), 5, 0, pin_memory=False, data_checksum=checksum)
    with pytest.raises(InputError, match=named):
        other.load_state_dict(state)
