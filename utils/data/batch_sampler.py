"""Which examples make up which batch, in which order: for training by seed and epoch, for evaluation by length.

An optimizer step takes ``accumulation`` micro-batches on each of ``processes`` processes. Which examples it takes
depends on the product of the two (and of the batch size, where there is one) alone: a run with fewer processes and more
accumulation learns the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice

import numpy as np

from .batch import BatchIndices, padded_length

StepSize = Callable[[int, int], int]  # longest source and longest target, padded -> examples of a step at most

# A bucket has several steps, or the same examples would meet in every epoch. More buckets make for less padding, but
# with so many there is hardly any left; so the buckets of large corpora have more steps instead.
_FEWEST_STEPS = 4
_MOST_BUCKETS = 512


@dataclass(frozen=True)
class LengthBucket:
    """Examples that are to be spread evenly over so many steps."""

    indices: np.ndarray  # (N,) int64
    steps: int
    step_size: int  # examples of a step at most


@dataclass(frozen=True)
class LengthBucketSampler:
    """The batches that one process trains on. The same arguments give the same batches.

    Every epoch has as many steps: how many examples a step has depends on lengths alone, not on chance.
    """

    source_lengths: np.ndarray  # tokens of each example
    target_lengths: np.ndarray
    batch_size: int  # examples of a micro-batch at most
    accumulation: int  # micro-batches of an optimizer step, on each process
    seed: int
    group_by_length: bool
    processes: int = 1
    rank: int = 0
    max_tokens: int | None = None  # of a micro-batch with its padding; as many examples as fit, not batch_size

    @cached_property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in which every example is seen once."""
        return sum(bucket.steps for bucket in self._buckets(np.arange(len(self.source_lengths))))

    def validation_interval(self, value: float) -> int:
        """Micro-batches between validations, whole steps: of ``value`` epochs up to 1, of ``value`` examples above."""
        epochs = value if value <= 1 else value / len(self.source_lengths)
        return max(1, round(epochs * self.steps_per_epoch)) * self.accumulation

    def steps(self, epoch: int) -> list[np.ndarray]:
        """The indices of each optimizer step of an epoch, on all processes."""
        random = np.random.default_rng([self.seed, epoch])
        steps = []
        for bucket in self._buckets(random.permutation(len(self.source_lengths))):
            steps += np.array_split(random.permutation(bucket.indices), bucket.steps)
        return [steps[index] for index in random.permutation(len(steps))]

    def batches(self, first: int, end: int) -> Iterator[BatchIndices]:
        """This process's micro-batches from number ``first`` up to number ``end``, counted from the first epoch on."""
        first_step, passed = divmod(first, self.accumulation)
        batches = chain.from_iterable(self._micro_batches(*step) for step in self._steps_from(first_step))
        return islice(batches, passed, passed + end - first)

    @cached_property
    def _shapes(self) -> np.ndarray:
        """(2, examples) int64, the lengths of sources and targets, each padded."""
        return padded_length(np.stack([self.source_lengths, self.target_lengths]))

    def _buckets(self, indices: np.ndarray) -> list[LengthBucket]:
        if self.group_by_length:
            return buckets_by_length(indices, self._shapes, self._step_size)
        return [one_bucket(indices, self._shapes, self._step_size)]

    def _step_size(self, source_length: int, target_length: int) -> int:
        """Examples of a step at most, given the longest of them. One that exceeds the budget goes alone."""
        budget = self.max_tokens
        batch_size = self.batch_size if budget is None else max(1, budget // (source_length + target_length))
        return batch_size * self.accumulation * self.processes

    def _steps_from(self, first_step: int) -> Iterator[tuple[int, np.ndarray]]:
        first_epoch, passed = divmod(first_step, self.steps_per_epoch)
        for epoch in count(first_epoch):
            for step in self.steps(epoch)[passed if epoch == first_epoch else 0 :]:
                yield epoch, step

    def _micro_batches(self, epoch: int, step: np.ndarray) -> Iterator[BatchIndices]:
        step_target_tokens = int(self.target_lengths[step].sum())
        if self.group_by_length:
            step = step[np.lexsort((self.target_lengths[step], self.source_lengths[step]))]
        for shared in np.array_split(step, self.accumulation):
            # Neighbours in length go to different processes: equal work.
            indices = shared[self.rank :: self.processes]
            is_dummy = len(indices) == 0
            yield BatchIndices(step[:1] if is_dummy else indices, step_target_tokens, epoch, is_dummy)


def one_bucket(indices: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> LengthBucket:
    """All the examples, in as many steps as the longest source and the longest target make necessary."""
    size = step_size(*shapes[:, indices].max(axis=1).tolist())
    return LengthBucket(indices, -(-len(indices) // size), size)


def buckets_by_length(indices: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> list[LengthBucket]:
    """Halve the examples, by whichever length makes for more padding among them, until the halves are a few steps.

    The order of ``indices`` decides which of several examples of one shape go to which bucket, and nothing else: the
    buckets of any order have the same shapes and steps.
    """
    fewest_steps = max(_FEWEST_STEPS, one_bucket(indices, shapes, step_size).steps // _MOST_BUCKETS)

    def halve(indices: np.ndarray) -> list[LengthBucket]:
        bucket = one_bucket(indices, shapes, step_size)
        padding = shapes[:, indices].max(axis=1) - shapes[:, indices].mean(axis=1)
        if bucket.steps < 2 * fewest_steps or not padding.any():
            return [bucket]
        side = int(padding.argmax())
        # The other side comes second, so that the shapes of a half do not depend on the order of the indices.
        by_length = indices[np.lexsort((shapes[1 - side][indices], shapes[side][indices]))]
        cut = len(indices) - bucket.steps // 2 * bucket.step_size  # the longer half has whole steps
        return halve(by_length[:cut]) + halve(by_length[cut:])

    return halve(indices)


def batches_by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut examples into batches for evaluation, longest first, so that too large a batch fails at once."""
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def batches_by_tokens(lengths: np.ndarray, most_tokens: int) -> list[np.ndarray]:
    """As ``batches_by_length``, but of as many indices, one at least, as fit into ``most_tokens``, padding included."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, most_tokens // int(padded_length(max(1, lengths[order[start]]))))
        batches.append(order[start : start + size])
        start += size
    return batches
