"""Which examples make up which batch, in which order: for training by seed and epoch, for evaluation by length.

An optimizer step takes ``accumulation`` micro-batches on each of ``processes`` processes. Which examples it takes
depends on the product of the two (and of the batch size, where there is one) alone: a run with fewer processes and more
accumulation learns the same.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, count, islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bart.errors import InputError

from ..runtime.launcher import serve
from .length_buckets import LengthGroup, groups_by_length, one_group
from .padding import padded_length


@dataclass(frozen=True)
class BatchIndices:
    """One micro-batch of one process: the examples it consists of."""

    rows: np.ndarray  # (B,) int64, line numbers from 0, never empty
    step_target_tokens: int  # of the whole optimizer step, over all its micro-batches and processes
    epoch: int = 0  # from 0
    is_dummy: bool = False  # the step has too few examples for this micro-batch: it is run, but must not count


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


class TrainingLoader:
    """Batches for ``steps`` optimizer steps, over as many epochs as they take, with its position in checkpoints.

    Lightning calls ``state_dict`` and ``load_state_dict``. The position counts the batches handed out, not those that
    workers have prepared ahead.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        order: LengthBucketSampler,
        steps: int,
        num_workers: int,
        pin_memory: bool,
        data_checksum: int,
    ) -> None:
        """``data_checksum`` tells whether a resumed run still has the data that it began with."""
        self.dataset = dataset
        self.order = order
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self._length = steps * order.accumulation
        self._identity = {"data_checksum": data_checksum, "processes": order.processes}
        self._handed_out = 0
        self.seconds_waited = 0.0  # for batches, by the training; copies to a GPU not included

    def __len__(self) -> int:
        """All batches of the run, those of before a resume included."""
        return self._length

    def __iter__(self) -> Iterator[Any]:
        batches = self.order.batches(self._handed_out, self._length)
        start = time.perf_counter()
        for batch in batch_loader(self.dataset, batches, self.num_workers, self.pin_memory):
            self._handed_out += 1
            self.seconds_waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands."""
        return {"handed_out": self._handed_out, **self._identity}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there. Raises InputError where other batches would follow than in the interrupted run."""
        if state["data_checksum"] != self._identity["data_checksum"]:
            raise InputError("--resume: the training data are not those that the run began with; restore them")
        if state["processes"] != self._identity["processes"]:
            raise InputError(f"--resume: the run has {state['processes']} processes; give it as many (see --gpus)")
        self._handed_out = state["handed_out"]


def batch_loader(dataset: Dataset[Any], batches: Any, num_workers: int, pin_memory: bool) -> DataLoader[Any]:
    """A loader that gives ``dataset[plan]`` for every plan of an iterable.

    Its generator is its own: a loader without one draws from torch's global generator whenever it starts, and dropout
    after a resume would differ.
    """
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        generator=torch.Generator(),
        # From Python 3.14 on the system's choice is a server: workers would be its children, which ``serve`` takes for
        # orphans, and each would get a copy of the data.
        multiprocessing_context="fork" if num_workers > 0 else None,
        # Else Ctrl-C, or a SIGTERM to all processes, ends them in mid-training.
        worker_init_fn=partial(serve, parent=os.getpid()),
    )


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
