"""Load the batches of a training and of its validations, prepared ahead by worker processes."""

import os
import time
from collections.abc import Iterable, Iterator
from functools import partial

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from bart.errors import InputError

from ..runtime.collectives import check_same_count
from .batch import EXACT, Batch, BatchDataset, BatchIndices, padded_shapes
from .batch_sampler import LengthBucketSampler, batches_by_length, longest_of
from .workers import BatchLoader, start_worker


class TrainingLoader:
    """Yields the batches of ``steps`` optimizer steps, over as many epochs as they take.

    Lightning saves its position in checkpoints by ``state_dict`` and ``load_state_dict``. The position counts the
    batches that were handed out, not those that workers have prepared ahead.
    """

    def __init__(
        self,
        dataset: Dataset[Batch],
        sampler: LengthBucketSampler,
        steps: int,
        num_workers: int,
        pin_memory: bool,
        data_checksum: int,
    ) -> None:
        """Begin at the first batch.

        Args:
            dataset: Makes a batch of the indices that ``sampler`` draws.
            sampler: Draws the batches of this process.
            steps: Optimizer steps of the run, those before a resume included.
            num_workers: Processes that prepare batches; 0 prepares them in this one.
            pin_memory: Whether batches go to a GPU.
            data_checksum: Tells whether a resumed run still has the data that it began with.
        """
        self.dataset = dataset
        self.sampler = sampler
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self._length = steps * sampler.accumulation
        self._identity = {"data_checksum": data_checksum, "processes": sampler.processes}
        self._handed_out = 0
        self.seconds_waited = 0.0  # by the training, for batches; copying them to a GPU not included

    def __len__(self) -> int:
        """Count all batches of the run, those before a resume included."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches from the current position on."""
        batches = self.sampler.batches(self._handed_out, self._length)
        start = time.perf_counter()
        for batch in batch_loader(self.dataset, batches, self.num_workers, self.pin_memory):
            self._handed_out += 1
            self.seconds_waited += time.perf_counter() - start
            yield batch
            start = time.perf_counter()

    def state_dict(self) -> dict[str, int]:
        """Return the position, and what must be the same when it is restored."""
        return {"handed_out": self._handed_out, **self._identity}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore a position. Raises InputError if other batches would follow than in the interrupted run."""
        if state["data_checksum"] != self._identity["data_checksum"]:
            raise InputError("--resume: the training data differ from those that the run began with; restore them")
        check_same_count(state["processes"], self._identity["processes"])
        self._handed_out = state["handed_out"]


def validation_loader(
    dataset: BatchDataset,
    batch_size: int,
    processes: int,
    rank: int,
    num_workers: int,
    pin_memory: bool,
    multiples: tuple[int, int] = EXACT,
) -> DataLoader[Batch]:
    """Load this process's batches of a validation (see ``validation_batches``)."""
    batches = validation_batches(dataset, batch_size, processes, rank, multiples)
    return batch_loader(dataset, batches, num_workers, pin_memory)


def validation_batches(
    dataset: BatchDataset, batch_size: int, processes: int, rank: int, multiples: tuple[int, int] = EXACT
) -> list[BatchIndices]:
    """Divide the examples among the processes, and cut this one's share into batches, longest sources first.

    Dummy batches at the end give every process the same number of batches: if the layers of a model are spread over
    the processes, the others would wait for one that runs fewer.
    """
    share = np.arange(rank, len(dataset), processes)
    target_lengths = dataset.examples.target_lengths
    shapes = padded_shapes(dataset.examples.source_lengths, target_lengths, multiples)
    batches = []
    for order in batches_by_length(dataset.examples.source_lengths[share], batch_size):
        indices = share[order]
        tokens = int(target_lengths[indices].sum())
        batches.append(BatchIndices(indices, step_target_tokens=tokens, window=longest_of(shapes[:, indices])))
    largest_share = -(-len(dataset) // processes)
    dummy = BatchIndices(np.zeros(1, dtype=np.int64), step_target_tokens=0, is_dummy=True)
    return batches + [dummy] * (-(-largest_share // batch_size) - len(batches))


def batch_loader(
    dataset: Dataset[Batch], batches: Iterable[BatchIndices], num_workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """Load ``dataset[batch]`` for each of the batches, in their order.

    An iteration raises LimitReached if the system has too little for so many workers.
    """
    return BatchLoader(
        dataset,
        batch_size=None,
        sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        # A loader without a generator draws from torch's global one whenever it starts; dropout would differ after a
        # resume.
        generator=torch.Generator(),
        # From Python 3.14 on the default is a server process. Workers would be its children, which
        # ``start_data_worker`` takes for orphans, and each would get a copy of the data.
        multiprocessing_context="fork" if num_workers > 0 else None,
        worker_init_fn=partial(start_worker, parent=os.getpid()),
    )
