"""The processes that share an evaluation: each does its part, and the first one gathers them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from torch import distributed

from bart.errors import InputError

from .collectives import gather_from_all
from .world import process_count, process_rank

Value = TypeVar("Value")
_SECONDS_BETWEEN_LOOKS = 0.1


class ProcessesMissing(InputError, TimeoutError):
    """Raised if other processes have not finished in time."""


class EvaluationGroup:
    """One process's view of all processes of an evaluation. Without arguments, this process is alone.

    Parts may take different times. A process that is done with its part therefore waits as long as any other still
    finishes batches, and gives up only if none does for ``timeout`` seconds: a slow process is waited for, a hanging
    one is not.
    """

    def __init__(self, rank: int = 0, count: int = 1, store: distributed.Store | None = None, timeout: int = 0) -> None:
        """Join the group.

        Args:
            rank: the number of this process, from 0.
            count: the number of processes.
            store: key-value store that all processes share; None if this process is alone.
            timeout: in seconds.
        """
        self.rank = rank
        self.count = count
        self._store = store
        self._timeout = timeout

    def batch_done(self) -> None:
        """Let the others see that this process still works."""
        if self._store is not None:
            self._store.add("batches", 1)

    def agree_on(self, value: Value) -> bool:
        """Return whether all processes give the same value."""
        return all(other == value for other in self.gather(value))

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank. They must come to this at about the same time."""
        return [value] if self._store is None else gather_from_all(value)  # alone, there may be the group of a training

    def gather_to_first(self, value: Value) -> list[Value] | None:
        """Return the values of all processes, by rank, on the first process; None on the others.

        Raises:
            ProcessesMissing: processes are missing, and none has finished a batch for as long as the timeout.
        """
        if self._store is not None:
            self._wait_for_all(self._store)
        values = self.gather(value)
        return values if self.rank == 0 else None

    def _wait_for_all(self, store: distributed.Store) -> None:
        store.add("ready", 1)
        batches, last_change = -1, time.monotonic()
        while (ready := store.add("ready", 0)) < self.count:
            before, batches = batches, store.add("batches", 0)
            if batches != before:
                last_change = time.monotonic()
            if time.monotonic() - last_change > self._timeout:
                missing = f"{self.count - ready} of {self.count} processes are not done"
                raise ProcessesMissing(f"--timeout {self._timeout}: {missing}, and no batch has come since")
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def process_group(timeout: int) -> Iterator[EvaluationGroup]:
    """Connect the processes that torchrun started, until the ``with`` block ends. ``timeout`` is in seconds."""
    if process_count() == 1:
        yield EvaluationGroup()
        return
    limit = timedelta(seconds=timeout)
    store, rank, count = next(distributed.rendezvous("env://", timeout=limit))
    store.set_timeout(limit)
    group_store = distributed.PrefixStore("group", store)
    # gloo, which works on CPUs: text is gathered, no tensors of a GPU.
    distributed.init_process_group("gloo", store=group_store, rank=rank, world_size=count, timeout=limit)
    try:
        yield EvaluationGroup(process_rank(), count, distributed.PrefixStore("evaluation", store), timeout)
    finally:
        distributed.destroy_process_group()
