"""The worker processes of a loader: they start if there is room for all of them, and end with the training."""

import multiprocessing
import multiprocessing.util
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..runtime.launcher import start_data_worker
from ..runtime.system_limits import LimitReached, check_room_for_processes, limit_named
from .batch import Batch


class BatchLoader(DataLoader[Batch]):
    """Torch's loader, which says in one line that the system has too little for its workers."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]  # nothing needs more than an iterator
        """Start the workers, if there are to be any. Raises LimitReached: what there was at first may be in use."""
        if self.num_workers > 0:
            _end_workers_at_exit()
            check_workers(self.num_workers, loaders=1)
        return super().__iter__()


def check_workers(num_workers: int, loaders: int) -> None:
    """Raise LimitReached if the system has too little for the workers of so many loaders at once."""
    if num_workers > 0:
        with limit_named(f"--num_workers {num_workers}", "give a lower number, such as 0"):
            check_room_for_processes(num_workers * loaders)


@contextmanager
def worker_death_named(num_workers: int) -> Iterator[None]:
    """Raise LimitReached if a worker is killed within the block, as the system does if memory runs out.

    Torch raises its own error wherever the training is at this moment.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise LimitReached(
            f"--num_workers {num_workers}: a process that prepares batches was killed, perhaps as memory ran out; give "
            "a lower number"
        ) from error


def start_worker(_: int, parent: int) -> None:
    """Prepare a worker: it ignores the signals that end a training, and sends its batches through its pipe.

    Torch would put each tensor of a batch into shared memory, and its descriptor into a message. If /dev/shm is small,
    as in containers, or descriptors are few, the batch would be lost, and the training would wait for it forever.
    """
    start_data_worker(parent)
    ForkingPickler.register(Tensor, _reduce_to_array)


def _reduce_to_array(tensor: Tensor) -> tuple[Any, ...]:
    """Tell pickle how to copy a tensor."""
    return torch.from_numpy, (tensor.numpy(),)


@cache
def _end_workers_at_exit() -> None:
    """Have the workers killed when this process ends by an error, once.

    The multiprocessing library would end them by SIGTERM, which they ignore, and wait for them forever.
    """

    def kill() -> None:
        for process in multiprocessing.active_children():
            if process.daemon:  # the library ends the same ones
                process.kill()

    multiprocessing.util.Finalize(None, kill, exitpriority=0)  # before the library ends them
