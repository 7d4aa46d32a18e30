"""Decide which examples make up which batch, and in which order: by seed and epoch for training, else by length.

An optimizer step takes ``accumulation`` micro-batches on each of ``processes`` processes. Which examples it takes
depends only on the product of the two, and on the batch size if there is one: a run with fewer processes and more
accumulation learns the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, count, islice

import numpy as np

from .batch import EXACT, BatchIndices, padded_length, padded_shapes

StepSize = Callable[[int, int], int]  # longest source and longest target, padded -> most examples of a step

# With one step per bucket the same examples would meet in every epoch. More buckets mean less padding, but at this
# number hardly any is left, so the buckets of a large corpus get more steps instead.
_FEWEST_STEPS = 4
_MOST_BUCKETS = 512


@dataclass(frozen=True)
class LengthBucket:
    """Examples of similar length, to be divided evenly among ``steps`` optimizer steps."""

    indices: np.ndarray  # (N,) int64
    steps: int
    step_size: int  # most examples of a step
    window: tuple[int, int] = (0, 0)  # least lengths of sources and targets, padding included


@dataclass(frozen=True)
class LengthBucketSampler:
    """Draws the batches that one process trains on. The same arguments give the same batches.

    Every epoch has the same number of steps, because lengths alone decide how many examples a step has.
    """

    source_lengths: np.ndarray  # (examples,) tokens of each
    target_lengths: np.ndarray  # (examples,)
    batch_size: int  # most examples of a micro-batch; unused if max_tokens is given
    accumulation: int  # micro-batches of an optimizer step on each process
    seed: int
    group_by_length: bool
    processes: int = 1
    rank: int = 0
    max_tokens: int | None = None  # of a micro-batch, sources and targets with padding; it takes as many as fit
    multiples: tuple[int, int] = EXACT  # to which sources and targets are padded; if coarser, few shapes come back

    @cached_property
    def steps_per_epoch(self) -> int:
        """Count the optimizer steps in which every example is seen once."""
        return sum(bucket.steps for bucket in self._buckets(np.arange(len(self.source_lengths))))

    def validation_interval(self, value: float) -> int:
        """Convert ``--val_check_interval`` into a number of micro-batches that make up full steps.

        Args:
            value: A fraction of an epoch up to 1; a number of examples above.
        """
        epochs = value if value <= 1 else value / len(self.source_lengths)
        return max(1, round(epochs * self.steps_per_epoch)) * self.accumulation

    def steps(self, epoch: int) -> list[np.ndarray]:
        """Draw the example indices of each optimizer step of an epoch, for all processes together."""
        return [indices for indices, _ in self._steps(epoch)]

    def _steps(self, epoch: int) -> list[tuple[np.ndarray, tuple[int, int]]]:
        """Draw the example indices and the window of each step."""
        random = np.random.default_rng([self.seed, epoch])
        steps = []
        for bucket in self._buckets(random.permutation(len(self.source_lengths))):
            drawn = np.array_split(random.permutation(bucket.indices), bucket.steps)
            steps += [(indices, bucket.window) for indices in drawn]
        return [steps[index] for index in random.permutation(len(steps))]

    def batches(self, first: int, end: int) -> Iterator[BatchIndices]:
        """Yield this process's micro-batches ``first`` to ``end`` - 1, numbered from the start of the first epoch."""
        first_step, passed = divmod(first, self.accumulation)
        batches = chain.from_iterable(self._micro_batches(*step) for step in self._steps_from(first_step))
        return islice(batches, passed, passed + end - first)

    @cached_property
    def _shapes(self) -> np.ndarray:
        """(2, examples) int64, the padded lengths of sources and targets."""
        return padded_shapes(self.source_lengths, self.target_lengths, self.multiples)

    @property
    def longest(self) -> tuple[int, int]:
        """The padded lengths of the longest source and the longest target."""
        return longest_of(self._shapes)

    def _buckets(self, indices: np.ndarray) -> list[LengthBucket]:
        if not self.group_by_length:
            return [one_bucket(indices, self._shapes, self._step_size)]
        by_length = buckets_by_length if self.multiples == EXACT else buckets_by_window
        return by_length(indices, self._shapes, self._step_size)

    def _step_size(self, source_length: int, target_length: int) -> int:
        """Return how many examples of these greatest lengths fit into a step; at least one for each micro-batch."""
        budget = self.max_tokens
        batch_size = self.batch_size if budget is None else max(1, budget // (source_length + target_length))
        return batch_size * self.accumulation * self.processes

    def _steps_from(self, first_step: int) -> Iterator[tuple[int, np.ndarray, tuple[int, int]]]:
        """Yield epoch, example indices and window of each step, without end."""
        first_epoch, passed = divmod(first_step, self.steps_per_epoch)
        for epoch in count(first_epoch):
            for step, window in self._steps(epoch)[passed if epoch == first_epoch else 0 :]:
                yield epoch, step, window

    def _micro_batches(self, epoch: int, step: np.ndarray, window: tuple[int, int]) -> Iterator[BatchIndices]:
        """Divide a step's examples into micro-batches, and yield this process's share of each."""
        step_target_tokens = int(self.target_lengths[step].sum())
        if self.group_by_length:
            step = step[np.lexsort((self.target_lengths[step], self.source_lengths[step]))]
        for micro_batch in np.array_split(step, self.accumulation):
            # Neighbours in length go to different processes, which gives these equal work.
            indices = micro_batch[self.rank :: self.processes]
            is_dummy = len(indices) == 0
            if self.multiples != EXACT and not self.group_by_length and not is_dummy:
                window = longest_of(self._shapes[:, indices])
            yield BatchIndices(step[:1] if is_dummy else indices, step_target_tokens, epoch, is_dummy, window)


def longest_of(shapes: np.ndarray) -> tuple[int, int]:
    """Return the greatest padded lengths of sources and targets, of (2, N)."""
    source, target = shapes.max(axis=1).tolist()
    return source, target


def one_bucket(indices: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> LengthBucket:
    """Put all examples into one bucket, whose steps are small enough for its longest source and longest target.

    Args:
        indices: (N,) int64, the examples.
        shapes: (2, examples) int64, the padded lengths of all sources and targets.
        step_size: Returns the most examples of a step, given its longest source and target.
    """
    size = step_size(*longest_of(shapes[:, indices]))
    return LengthBucket(indices, -(-len(indices) // size), size)


def buckets_by_length(indices: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> list[LengthBucket]:
    """Halve the examples until each part is a few steps or needs no padding. Arguments as for ``one_bucket``.

    Each cut sorts by the side, source or target, that causes more padding. The order of ``indices`` decides which of
    several examples of one shape goes into which bucket, and nothing else: shapes and steps of the buckets stay the
    same.
    """
    fewest_steps = max(_FEWEST_STEPS, one_bucket(indices, shapes, step_size).steps // _MOST_BUCKETS)

    def halve(indices: np.ndarray) -> list[LengthBucket]:
        bucket = one_bucket(indices, shapes, step_size)
        padding = shapes[:, indices].max(axis=1) - shapes[:, indices].mean(axis=1)
        if bucket.steps < 2 * fewest_steps or not padding.any():
            return [bucket]
        side = int(padding.argmax())
        # The other side is the second key; without it, the shapes of a half would depend on the order of the indices.
        by_length = indices[np.lexsort((shapes[1 - side][indices], shapes[side][indices]))]
        cut = len(indices) - bucket.steps // 2 * bucket.step_size  # leaves full steps to the longer half
        return halve(by_length[:cut]) + halve(by_length[cut:])

    return halve(indices)


def buckets_by_window(indices: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> list[LengthBucket]:
    """Put the examples of one shape into one bucket of full steps. Arguments as for ``one_bucket``.

    Examples that do not fill a step, or too few steps, join those of the next shape in which they fit; the last of them
    make a bucket of their own. So a batch has one of few shapes. As with ``buckets_by_length``, the order of
    ``indices`` decides nothing about the shapes and the steps of the buckets.
    """
    # The first steps take the smallest shapes, so that those that are left over are known by their shapes.
    in_order = indices[np.lexsort((shapes[1][indices], shapes[0][indices]))]
    windows, starts = np.unique(shapes[:, in_order], axis=1, return_index=True)
    buckets: list[LengthBucket] = []
    left = in_order[:0]
    for window, own in zip(windows.T, np.split(in_order, starts[1:]), strict=True):
        fits = (shapes[:, left] <= window[:, None]).all(axis=0)
        candidates = np.concatenate([left[fits], own])
        source, target = window.tolist()
        size = step_size(source, target)
        if (steps := len(candidates) // size) >= _FEWEST_STEPS:
            buckets.append(LengthBucket(candidates[: steps * size], steps, size, (source, target)))
            candidates = candidates[steps * size :]
        left = np.concatenate([left[~fits], candidates])
        left = left[np.lexsort((shapes[1][left], shapes[0][left]))]
    if len(left) > 0:
        source, target = longest_of(shapes[:, left])
        known = [bucket.window for bucket in buckets if source <= bucket.window[0] and target <= bucket.window[1]]
        window = min(known, key=sum, default=(source, target))
        size = step_size(*window)
        buckets.append(LengthBucket(left, -(-len(left) // size), size, window))
    return buckets


def batches_by_length(lengths: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut examples into batches for evaluation, longest first, so that a batch that is too large fails at once.

    Args:
        lengths: (examples,) tokens of each.
        batch_size: Examples of a batch.

    Returns:
        The example indices of each batch.
    """
    order = np.argsort(-lengths, kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def batches_by_tokens(lengths: np.ndarray, most_tokens: int) -> list[np.ndarray]:
    """Cut examples into batches for evaluation, longest first, each as many examples as fit into ``most_tokens``.

    Padding counts as tokens. A batch has at least one example, even if that alone has more.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, most_tokens // int(padded_length(max(1, lengths[order[start]]))))
        batches.append(order[start : start + size])
        start += size
    return batches
