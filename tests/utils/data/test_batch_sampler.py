from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from utils.data.batch import BatchIndices, padded_length
from utils.data.batch_sampler import LengthBucket, LengthBucketSampler, batches_by_length, buckets_by_length

EXAMPLES = 203


def order(**changes: object) -> LengthBucketSampler:
    rng = np.random.default_rng(0)
    return LengthBucketSampler(
        **{
            "source_lengths": rng.integers(3, 100, EXAMPLES),
            "target_lengths": rng.integers(3, 30, EXAMPLES),
            **{"batch_size": 4, "accumulation": 3, "seed": 5, "group_by_length": True},
            **changes,
        }
    )


def articles(**changes: object) -> LengthBucketSampler:
    """Lengths as of articles and their summaries."""
    rng = np.random.default_rng(0)
    return LengthBucketSampler(
        source_lengths=np.clip(rng.lognormal(np.log(900), 0.6, 20_000), 3, 1024).astype(int),
        target_lengths=np.clip(rng.lognormal(np.log(25), 0.4, 20_000), 3, 142).astype(int),
        **{"batch_size": 24, "accumulation": 1, "seed": 5, "group_by_length": True, **changes},
    )


def epoch_plans(training_order: LengthBucketSampler, epoch: int = 0) -> list[BatchIndices]:
    per_epoch = training_order.steps_per_epoch * training_order.accumulation
    return list(training_order.batches(epoch * per_epoch, (epoch + 1) * per_epoch))


LIMITS = [{"batch_size": 4}, {"batch_size": 1}, {"batch_size": 300}, {"max_tokens": 136}, {"max_tokens": 1000}]


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("limit", LIMITS)
def test_every_example_once_an_epoch(
    limit: dict[str, int], accumulation: int, processes: int, group_by_length: bool
) -> None:
    """On all processes together, with as many batches on each, and every step with its number of target tokens."""
    one = order(**limit, accumulation=accumulation, processes=processes, group_by_length=group_by_length)
    for epoch in (0, 1):
        plans = [epoch_plans(replace(one, rank=rank), epoch) for rank in range(processes)]
        assert len({len(of_rank) for of_rank in plans}) == 1
        counted = [row for of_rank in plans for plan in of_rank if not plan.is_dummy for row in plan.rows.tolist()]
        assert sorted(counted) == list(range(EXAMPLES))
        for start in range(0, len(plans[0]), accumulation):
            step = [plan for of_rank in plans for plan in of_rank[start : start + accumulation]]
            tokens = sum(one.target_lengths[plan.rows].sum() for plan in step if not plan.is_dummy)
            assert {plan.step_target_tokens for plan in step} == {tokens}
        for plan in (plan for of_rank in plans for plan in of_rank):
            assert len(plan.rows) >= 1
            assert "batch_size" not in limit or len(plan.rows) <= limit["batch_size"]
            assert "max_tokens" not in limit or tokens_with_padding(one, plan) <= limit["max_tokens"]


def tokens_with_padding(training_order: LengthBucketSampler, plan: BatchIndices) -> int:
    """Source and target tokens that a model is given."""
    lengths = (training_order.source_lengths, training_order.target_lengths)
    return sum(len(plan.rows) * int(np.ceil(of_side[plan.rows].max() / 8)) * 8 for of_side in lengths)


@pytest.mark.parametrize("group_by_length", [True, False])
def test_steps_depend_on_the_product_alone(group_by_length: bool) -> None:
    def steps(**sizes: int) -> list[list[int]]:
        return [sorted(step.tolist()) for step in order(group_by_length=group_by_length, **sizes).steps(3)]

    expected = steps(batch_size=24, accumulation=1)
    assert expected == steps(batch_size=4, accumulation=6) == steps(batch_size=2, accumulation=3, processes=4)
    expected = steps(max_tokens=300, accumulation=6)
    assert expected == steps(max_tokens=300, accumulation=3, processes=2) != steps(max_tokens=300, accumulation=5)


def test_a_budget_is_used() -> None:
    """Long examples are few, short ones are many, and batches come near to the budget."""
    training_order = articles(max_tokens=16384)
    plans = epoch_plans(training_order)
    assert np.mean([tokens_with_padding(training_order, plan) for plan in plans]) > 0.9 * 16384
    assert min(len(plan.rows) for plan in plans) <= 15 < 40 < max(len(plan.rows) for plan in plans)


@pytest.mark.parametrize("seed", range(50))
def test_epochs_have_as_many_steps(seed: int) -> None:
    """With whatever lengths, many of which are the same."""
    rng = np.random.default_rng(seed)
    examples, longest = rng.integers(1, 400), rng.integers(2, 100, 2)
    training_order = order(
        source_lengths=rng.integers(1, longest[0], examples),
        target_lengths=rng.integers(1, longest[1], examples),
        max_tokens=int(rng.integers(208, 1000)),
        accumulation=int(rng.integers(1, 5)),
    )
    epochs = [training_order.steps(epoch) for epoch in range(5)]
    assert {len(steps) for steps in epochs} == {training_order.steps_per_epoch}
    for plan in training_order.batches(0, 5 * training_order.steps_per_epoch * training_order.accumulation):
        assert tokens_with_padding(training_order, plan) <= training_order.max_tokens


@pytest.mark.parametrize("limit", [{"batch_size": 4}, {"max_tokens": 300}])
def test_neighbours_change(limit: dict[str, int]) -> None:
    """Of the pairs that share a step, few share one in the next epoch too."""
    training_order = order(**limit, accumulation=1)
    pairs = [
        {pair for step in training_order.steps(epoch) for pair in combinations(sorted(step.tolist()), 2)}
        for epoch in (0, 1)
    ]
    assert len(pairs[0] & pairs[1]) < 0.25 * len(pairs[0])


def test_processes_have_equal_work() -> None:
    one = order(max_tokens=1000, accumulation=2, processes=2)
    ranks = [epoch_plans(replace(one, rank=rank)) for rank in (0, 1)]
    tokens = np.array([[tokens_with_padding(one, plan) for plan in plans] for plans in ranks])
    assert np.mean(tokens.max(axis=0) / tokens.min(axis=0)) < 1.15


def test_seed_and_epoch_decide() -> None:
    def rows(training_order: LengthBucketSampler, epoch: int = 0) -> list[list[int]]:
        return [plan.rows.tolist() for plan in epoch_plans(training_order, epoch)]

    assert rows(order()) == rows(order())
    assert rows(order()) != rows(order(seed=6))
    assert rows(order()) != rows(order(), epoch=1)


@pytest.mark.parametrize("limit", [{"batch_size": 4}, {"max_tokens": 500}])
def test_plans_can_start_anywhere(limit: dict[str, int]) -> None:
    assert order(**limit).steps_per_epoch < 20  # so that there are two epochs and more
    whole = [plan.rows.tolist() for plan in order(**limit).batches(0, 120)]
    for first in range(120):
        assert [plan.rows.tolist() for plan in order(**limit).batches(first, 120)] == whole[first:]


@pytest.mark.parametrize("limit", [{"batch_size": 8}, {"batch_size": 24}, {"max_tokens": 16384}])
def test_grouping_saves_padding(limit: dict[str, int]) -> None:
    grouped = articles(**limit)
    tokens = int(grouped.source_lengths.sum() + grouped.target_lengths.sum())
    shares = [
        1 - tokens / sum(tokens_with_padding(training_order, plan) for plan in epoch_plans(training_order))
        for training_order in (grouped, replace(grouped, group_by_length=False))
    ]
    assert shares[0] < 0.03 < 0.2 < shares[1]


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
    assert training_order.validation_interval(4 * EXAMPLES) == 4 * per_epoch
    assert training_order.validation_interval(2) == 3


def buckets(shapes: np.ndarray, rows: np.ndarray | None = None, step_size: int = 3) -> list[LengthBucket]:
    rows = np.arange(shapes.shape[1]) if rows is None else rows
    return buckets_by_length(rows, shapes, lambda source, target: step_size)


@pytest.mark.parametrize("varied", [0, 1])
def test_halved_by_the_side_that_varies(varied: int) -> None:
    """Buckets of equal shapes, though the corpus has them in any order."""
    shapes = np.full((2, 200), 16)
    shapes[varied] = np.random.default_rng(0).permutation(np.repeat([8, 40, 80, 160], 50))
    found = buckets(shapes, step_size=5)
    assert [shapes[varied][bucket.rows].tolist() for bucket in found] == [[length] * 50 for length in (8, 40, 80, 160)]
    assert [bucket.steps for bucket in found] == [10] * 4


def test_no_bucket_without_a_choice() -> None:
    """Each has several steps, all examples are in one bucket, and only one bucket's last step is short."""
    shapes = padded_length(np.random.default_rng(0).integers(1, 200, (2, 1000)))
    found = buckets(shapes)
    assert len(found) > 50 and min(bucket.steps for bucket in found) >= 4
    assert sorted(row for bucket in found for row in bucket.rows.tolist()) == list(range(1000))
    assert sum(bucket.steps for bucket in found) == 334


def test_like_shapes_are_exchanged() -> None:
    """Another order of the rows puts other examples into a bucket, of the same shapes."""
    rng = np.random.default_rng(0)
    shapes = padded_length(rng.integers(1, 60, (2, 1000)))
    ours, theirs = buckets(shapes), buckets(shapes, rng.permutation(1000))
    shapes_of_both = [[shapes[:, bucket.rows].tolist() for bucket in found] for found in (ours, theirs)]
    assert shapes_of_both[0] == shapes_of_both[1]
    assert [bucket.rows.tolist() for bucket in ours] != [bucket.rows.tolist() for bucket in theirs]
