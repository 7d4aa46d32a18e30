"""Loaders that give the batches of a training and of its validations, prepared ahead by worker processes."""

import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bart.errors import InputError

from ..runtime.launcher import serve
from .batch import Batch, BatchDataset, BatchIndices
from .batch_sampler import LengthBucketSampler, batches_by_length


class TrainingLoader:
    """Batches for ``steps`` optimizer steps, over as many epochs as they take, with its position in checkpoints.

    Lightning calls ``state_dict`` and ``load_state_dict``. The position counts the batches handed out, not those that
    workers have prepared ahead.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: LengthBucketSampler,
        steps: int,
        num_workers: int,
        pin_memory: bool,
        data_checksum: int,
    ) -> None:
        """``data_checksum`` tells whether a resumed run still has the data that it began with."""
        self.dataset = dataset
        self.sampler = sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self._length = steps * sampler.accumulation
        self._identity = {"data_checksum": data_checksum, "processes": sampler.processes}
        self._handed_out = 0
        self.seconds_waited = 0.0  # for batches, by the training; copies to a GPU not included

    def __len__(self) -> int:
        """All batches of the run, those of before a resume included."""
        return self._length

    def __iter__(self) -> Iterator[Any]:
        batches = self.sampler.batches(self._handed_out, self._length)
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


def validation_loader(
    dataset: BatchDataset, batch_size: int, processes: int, rank: int, num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """This process's share of the examples, each once, and dummy batches, so that every process runs as many batches.

    The others would wait for one that runs fewer, where a model's layers are spread over them.
    """
    return batch_loader(dataset, validation_batches(dataset, batch_size, processes, rank), num_workers, pin_memory)


def validation_batches(dataset: BatchDataset, batch_size: int, processes: int, rank: int) -> list[BatchIndices]:
    """The batches of ``validation_loader``, the longest sources first."""
    share = np.arange(rank, len(dataset), processes)
    target_lengths = dataset.examples.target_lengths
    batches = []
    for order in batches_by_length(dataset.examples.source_lengths[share], batch_size):
        indices = share[order]
        batches.append(BatchIndices(indices, step_target_tokens=int(target_lengths[indices].sum())))
    largest_share = -(-len(dataset) // processes)
    dummy = BatchIndices(np.zeros(1, dtype=np.int64), step_target_tokens=0, is_dummy=True)
    return batches + [dummy] * (-(-largest_share // batch_size) - len(batches))


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
