"""Which examples make up which batch, in which order: for training by seed and epoch, for evaluation by length.

An optimizer step takes ``accumulation`` micro-batches on each of ``processes`` processes. Which examples it takes
depends on the product of the two (and of the batch size, where there is one) alone: a run with fewer processes and more
accumulation learns the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice

import numpy as np

from .batch import BatchIndices, padded_length
from .length_buckets import LengthGroup, groups_by_length, one_group


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
        return sum(group.steps for group in self._groups(np.arange(len(self.source_lengths))))

    def validation_interval(self, value: float) -> int:
        """Micro-batches between validations, whole steps: of ``value`` epochs up to 1, of ``value`` examples above."""
        epochs = value if value <= 1 else value / len(self.source_lengths)
        return max(1, round(epochs * self.steps_per_epoch)) * self.accumulation

    def steps(self, epoch: int) -> list[np.ndarray]:
        """The rows of each optimizer step of an epoch, on all processes."""
        random = np.random.default_rng([self.seed, epoch])
        steps = []
        for group in self._groups(random.permutation(len(self.source_lengths))):
            steps += np.array_split(random.permutation(group.rows), group.steps)
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

    def _groups(self, rows: np.ndarray) -> list[LengthGroup]:
        if self.group_by_length:
            return groups_by_length(rows, self._shapes, self._step_size)
        return [one_group(rows, self._shapes, self._step_size)]

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
            rows = shared[self.rank :: self.processes]  # neighbours in length go to different processes: equal work
            yield BatchIndices(rows if len(rows) else step[:1], step_target_tokens, epoch, is_dummy=len(rows) == 0)


def batches_by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """The rows of each batch for evaluation: each row once, longest first, so that too large a batch fails at once."""
    return _cut(np.argsort(-lengths, kind="stable"), batch_size)


def batches_by_tokens(lengths: np.ndarray, most_tokens: int) -> list[np.ndarray]:
    """As ``batches_by_length``, but of as many rows, one at least, as fit into ``most_tokens``, padding included."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, most_tokens // int(padded_length(max(1, lengths[order[start]]))))
        batches.append(order[start : start + size])
        start += size
    return batches


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
