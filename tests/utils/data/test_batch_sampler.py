from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from utils.data.batch import EXACT, FEW, BatchIndices, padded_length, padded_shapes
from utils.data.batch_sampler import LengthBucket, LengthBucketSampler, batches_by_length, buckets_by_length

EXAMPLES = 203


def make_sampler(**changes: object) -> LengthBucketSampler:
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
    """Make a sampler of as many tokens as articles and their summaries have."""
    rng = np.random.default_rng(0)
    return LengthBucketSampler(
        source_lengths=np.clip(rng.lognormal(np.log(900), 0.6, 20_000), 3, 1024).astype(int),
        target_lengths=np.clip(rng.lognormal(np.log(25), 0.4, 20_000), 3, 142).astype(int),
        **{"batch_size": 24, "accumulation": 1, "seed": 5, "group_by_length": True, **changes},
    )


def epoch_batches(sampler: LengthBucketSampler, epoch: int = 0) -> list[BatchIndices]:
    per_epoch = sampler.steps_per_epoch * sampler.accumulation
    return list(sampler.batches(epoch * per_epoch, (epoch + 1) * per_epoch))


LIMITS = [
    *({"batch_size": 4}, {"batch_size": 1}, {"batch_size": 300}, {"max_tokens": 136}, {"max_tokens": 1000}),
    *({"batch_size": 4, "multiples": FEW}, {"max_tokens": 1000, "multiples": FEW}),
]


@pytest.mark.parametrize("group_by_length", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("limit", LIMITS)
def test_every_example_once_an_epoch(
    limit: dict[str, int], accumulation: int, processes: int, group_by_length: bool
) -> None:
    """Processes share an epoch in equal numbers of batches; every batch knows the target tokens of its step."""
    one = make_sampler(**limit, accumulation=accumulation, processes=processes, group_by_length=group_by_length)
    for epoch in (0, 1):
        batches = [epoch_batches(replace(one, rank=rank), epoch) for rank in range(processes)]
        assert len({len(of_rank) for of_rank in batches}) == 1
        counted = [batch.indices for of_rank in batches for batch in of_rank if not batch.is_dummy]
        assert sorted(np.concatenate(counted).tolist()) == list(range(EXAMPLES))
        for start in range(0, len(batches[0]), accumulation):
            step = [batch for of_rank in batches for batch in of_rank[start : start + accumulation]]
            tokens = sum(one.target_lengths[batch.indices].sum() for batch in step if not batch.is_dummy)
            assert {batch.step_target_tokens for batch in step} == {tokens}
        for batch in (batch for of_rank in batches for batch in of_rank):
            assert len(batch.indices) >= 1
            assert "batch_size" not in limit or len(batch.indices) <= limit["batch_size"]
            assert "max_tokens" not in limit or tokens_with_padding(one, batch) <= limit["max_tokens"]


def tokens_with_padding(sampler: LengthBucketSampler, batch: BatchIndices) -> int:
    """Count source and target tokens with padding."""
    lengths = (sampler.source_lengths, sampler.target_lengths)
    return sum(len(batch.indices) * int(np.ceil(of_side[batch.indices].max() / 8)) * 8 for of_side in lengths)


@pytest.mark.parametrize("group_by_length", [True, False])
def test_steps_depend_on_the_product_alone(group_by_length: bool) -> None:
    def steps(**sizes: int) -> list[list[int]]:
        return [sorted(step.tolist()) for step in make_sampler(group_by_length=group_by_length, **sizes).steps(3)]

    expected = steps(batch_size=24, accumulation=1)
    assert expected == steps(batch_size=4, accumulation=6) == steps(batch_size=2, accumulation=3, processes=4)
    expected = steps(max_tokens=300, accumulation=6)
    assert expected == steps(max_tokens=300, accumulation=3, processes=2) != steps(max_tokens=300, accumulation=5)


def test_a_budget_is_used() -> None:
    """Batches of long examples have few, batches of short ones many, and nearly fill the budget."""
    sampler = articles(max_tokens=16384)
    batches = epoch_batches(sampler)
    assert np.mean([tokens_with_padding(sampler, batch) for batch in batches]) > 0.9 * 16384
    assert min(len(batch.indices) for batch in batches) <= 15 < 40 < max(len(batch.indices) for batch in batches)


@pytest.mark.parametrize("seed", range(50))
def test_epochs_have_as_many_steps(seed: int) -> None:
    """Tries random lengths, many of which are equal."""
    rng = np.random.default_rng(seed)
    examples, longest = rng.integers(1, 400), rng.integers(2, 100, 2)
    sampler = make_sampler(
        source_lengths=rng.integers(1, longest[0], examples),
        target_lengths=rng.integers(1, longest[1], examples),
        max_tokens=int(rng.integers(208, 1000)),
        accumulation=int(rng.integers(1, 5)),
    )
    epochs = [sampler.steps(epoch) for epoch in range(5)]
    assert {len(steps) for steps in epochs} == {sampler.steps_per_epoch}
    for batch in sampler.batches(0, 5 * sampler.steps_per_epoch * sampler.accumulation):
        assert tokens_with_padding(sampler, batch) <= sampler.max_tokens


@pytest.mark.parametrize("limit", [{"batch_size": 4}, {"max_tokens": 300}])
def test_neighbours_change(limit: dict[str, int]) -> None:
    """Few pairs of examples that share a step share one in the next epoch."""
    sampler = make_sampler(**limit, accumulation=1)
    pairs = [
        {pair for step in sampler.steps(epoch) for pair in combinations(sorted(step.tolist()), 2)}
        for epoch in (0, 1)
    ]
    assert len(pairs[0] & pairs[1]) < 0.25 * len(pairs[0])


def test_processes_have_equal_work() -> None:
    one = make_sampler(max_tokens=1000, accumulation=2, processes=2)
    ranks = [epoch_batches(replace(one, rank=rank)) for rank in (0, 1)]
    tokens = np.array([[tokens_with_padding(one, batch) for batch in batches] for batches in ranks])
    assert np.mean(tokens.max(axis=0) / tokens.min(axis=0)) < 1.15


def test_seed_and_epoch_decide() -> None:
    def indices(sampler: LengthBucketSampler, epoch: int = 0) -> list[list[int]]:
        return [batch.indices.tolist() for batch in epoch_batches(sampler, epoch)]

    assert indices(make_sampler()) == indices(make_sampler())
    assert indices(make_sampler()) != indices(make_sampler(seed=6))
    assert indices(make_sampler()) != indices(make_sampler(), epoch=1)


@pytest.mark.parametrize("limit", [{"batch_size": 4}, {"max_tokens": 500}])
def test_batches_can_start_anywhere(limit: dict[str, int]) -> None:
    assert make_sampler(**limit).steps_per_epoch < 20  # so that there are two epochs and more
    expected = [batch.indices.tolist() for batch in make_sampler(**limit).batches(0, 120)]
    for first in range(120):
        assert [batch.indices.tolist() for batch in make_sampler(**limit).batches(first, 120)] == expected[first:]


@pytest.mark.parametrize("limit", [{"batch_size": 8}, {"batch_size": 24}, {"max_tokens": 16384}])
def test_grouping_saves_padding(limit: dict[str, int]) -> None:
    grouped = articles(**limit)
    tokens = int(grouped.source_lengths.sum() + grouped.target_lengths.sum())
    shares = [
        1 - tokens / sum(tokens_with_padding(sampler, batch) for batch in epoch_batches(sampler))
        for sampler in (grouped, replace(grouped, group_by_length=False))
    ]
    assert shares[0] < 0.03 < 0.2 < shares[1]


def test_evaluation_goes_from_long_to_short() -> None:
    lengths = np.array([5, 9, 7, 9, 1])
    assert [batch.tolist() for batch in batches_by_length(lengths, 2)] == [[1, 3], [2, 0], [4]]


@pytest.mark.parametrize("batch_size", [1, 8, 300])
def test_validation_interval(batch_size: int) -> None:
    """Values up to 1 are fractions of an epoch, greater ones numbers of examples; both become full steps."""
    sampler = make_sampler(batch_size=batch_size)
    per_epoch = sampler.steps_per_epoch * 3
    assert sampler.validation_interval(1.0) == per_epoch
    assert sampler.validation_interval(1e-9) == 3
    assert sampler.validation_interval(0.5) % 3 == 0
    assert sampler.validation_interval(4 * EXAMPLES) == 4 * per_epoch
    assert sampler.validation_interval(2) == 3


def buckets(shapes: np.ndarray, indices: np.ndarray | None = None, step_size: int = 3) -> list[LengthBucket]:
    indices = np.arange(shapes.shape[1]) if indices is None else indices
    return buckets_by_length(indices, shapes, lambda source, target: step_size)


@pytest.mark.parametrize("varied", [0, 1])
def test_halved_by_the_side_that_varies(varied: int) -> None:
    """Examples in random order are divided into buckets of equal shapes."""
    shapes = np.full((2, 200), 16)
    shapes[varied] = np.random.default_rng(0).permutation(np.repeat([8, 40, 80, 160], 50))
    found = buckets(shapes, step_size=5)
    lengths = [shapes[varied][bucket.indices].tolist() for bucket in found]
    assert lengths == [[length] * 50 for length in (8, 40, 80, 160)]
    assert [bucket.steps for bucket in found] == [10] * 4


def test_no_bucket_without_a_choice() -> None:
    """Every bucket has several steps, every example is in one bucket, and only one step is short."""
    shapes = padded_length(np.random.default_rng(0).integers(1, 200, (2, 1000)))
    found = buckets(shapes)
    assert len(found) > 50 and min(bucket.steps for bucket in found) >= 4
    assert sorted(index for bucket in found for index in bucket.indices.tolist()) == list(range(1000))
    assert sum(bucket.steps for bucket in found) == 334


def test_like_shapes_are_exchanged() -> None:
    """In another order of the indices a bucket has other examples of the same shapes."""
    rng = np.random.default_rng(0)
    shapes = padded_length(rng.integers(1, 60, (2, 1000)))
    ours, theirs = buckets(shapes), buckets(shapes, rng.permutation(1000))
    shapes_of_both = [[shapes[:, bucket.indices].tolist() for bucket in found] for found in (ours, theirs)]
    assert shapes_of_both[0] == shapes_of_both[1]
    assert [bucket.indices.tolist() for bucket in ours] != [bucket.indices.tolist() for bucket in theirs]


def uneven_sampler(**given: Any) -> LengthBucketSampler:
    """20,000 examples about as uneven as XSum's."""
    random = np.random.default_rng(5)
    sources = np.clip(np.round(random.lognormal(np.log(0.45) - 0.18, 0.6, 20_000) * 1024), 30, 1024)
    targets = np.clip(np.round(random.normal(0.42, 0.12, 20_000) * 60), 8, 60)
    settings = {"batch_size": 8, "accumulation": 1, "max_tokens": 45_000, **given}
    return LengthBucketSampler(
        sources.astype(np.int64), targets.astype(np.int64), seed=3, group_by_length=True, **settings
    )


def epoch_of(sampler: LengthBucketSampler, epoch: int) -> list[tuple[BatchIndices, tuple[int, int, int]]]:
    """Each micro-batch of an epoch, with its shape."""
    count = sampler.steps_per_epoch * sampler.accumulation
    batches = []
    for batch in sampler.batches(epoch * count, (epoch + 1) * count):
        shapes = padded_shapes(sampler.source_lengths, sampler.target_lengths, EXACT)[:, batch.indices]
        source, target = np.maximum(shapes.max(axis=1), batch.window).tolist()
        batches.append((batch, (len(batch.indices), source, target)))
    return batches


@pytest.mark.parametrize("given", [{}, {"max_tokens": None, "batch_size": 24, "accumulation": 2, "processes": 2}])
def test_few_shapes_come_back(given: dict[str, Any]) -> None:
    """Every example once an epoch, within the budget, in the same shapes in each epoch, with little more padding."""
    few, exact = uneven_sampler(multiples=FEW, **given), uneven_sampler(**given)
    shapes = []
    for epoch in range(2):
        batches = epoch_of(few, epoch)
        indices = np.concatenate([batch.indices for batch, _ in batches])
        assert len(np.unique(indices)) == len(indices)
        assert len(indices) == pytest.approx(20_000 / few.processes, abs=few.steps_per_epoch * few.accumulation)
        shapes.append({shape for _, shape in batches})
        budget = given.get("max_tokens", 45_000)
        assert budget is None or all(rows * (source + target) <= budget for rows, source, target in shapes[-1])
    assert shapes[0] == shapes[1] and len(shapes[0]) <= 40 < len({shape for _, shape in epoch_of(exact, 0)})
    padded = [sum(rows * (source + target) for _, (rows, source, target) in epoch_of(one, 0)) for one in (few, exact)]
    assert padded[0] < (1.08 if not given else 1.12) * padded[1]
    assert [step.tolist() for step in few.steps(0)] != [step.tolist() for step in few.steps(1)]


def test_few_shapes_of_a_small_set() -> None:
    """Too few examples for steps of one shape: those that fit together stay together."""
    random = np.random.default_rng(5)
    lengths = random.integers(3, 200, 50), random.integers(3, 30, 50)
    sampler = LengthBucketSampler(*lengths, 4, 2, 3, group_by_length=True, multiples=FEW)
    seen = np.concatenate([batch.indices for batch, _ in epoch_of(sampler, 0)])
    assert sorted(seen.tolist()) == list(range(50))
    in_any_order = LengthBucketSampler(*lengths, 4, 2, 3, group_by_length=False, multiples=FEW)
    assert {shape[1] for _, shape in epoch_of(in_any_order, 0)} <= {128, 200}


@pytest.mark.parametrize(("longest", "padded"), [(1024, 1024), (500, 504), (192, 200), (64, 72), (128, 128)])
def test_no_shape_at_which_cudnn_fails(longest: int, padded: int) -> None:
    """Not beyond the longest source; where 64 is left of 128, its backward pass of attention may be NaN."""
    sources = np.arange(1, longest + 1)
    shapes = padded_shapes(sources, np.full(longest, 5), FEW)
    assert shapes[0].max() == padded and shapes[1].max() == 8
    assert not (shapes[0] % 128 == 64).any()
    assert (padded_shapes(sources, sources, EXACT)[0] == padded_length(sources)).all()
