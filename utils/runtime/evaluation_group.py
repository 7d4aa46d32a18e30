"""The processes that share an evaluation: each does its part, the first one gathers them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from .world import gather_from_all, process_count, process_rank

if TYPE_CHECKING:
    from torch.distributed import Store

# Torch takes seconds to import, so the functions do it.

Value = TypeVar("Value")
_SECONDS_BETWEEN_LOOKS = 0.1


class EvaluationGroup:
    """All processes, seen from one of them. As created without arguments, this process is alone.

    A process that is done with its part waits for the others as long as any of them still finishes batches: parts may
    take different times, and one that is slow is told from one that hangs.
    """

    def __init__(self, rank: int = 0, count: int = 1, store: "Store | None" = None, timeout: int = 0) -> None:
        """``store`` is one that all of them see; ``timeout`` in seconds."""
        self.rank = rank
        self.count = count
        self._store = store
        self._timeout = timeout

    def batch_done(self) -> None:
        """Tell the others that this process works."""
        if self._store is not None:
            self._store.add("batches", 1)

    def agree_on(self, value: Value) -> bool:
        """Whether all processes give the same value."""
        return self._store is None or all(other == value for other in gather_from_all(value))

    def gather_to_first(self, value: Value) -> list[Value] | None:
        """The values of all processes, by rank, on the first one; None on the others.

        Raises TimeoutError where processes are missing and none has finished a batch for as long as the timeout.
        """
        if self._store is None:  # although there may be a process group: that of the training before
            return [value]
        self._wait_for_all(self._store)
        values = gather_from_all(value)
        return values if self.rank == 0 else None

    def _wait_for_all(self, store: "Store") -> None:
        store.add("ready", 1)
        batches, last_change = -1, time.monotonic()
        while (ready := store.add("ready", 0)) < self.count:
            before, batches = batches, store.add("batches", 0)
            if batches != before:
                last_change = time.monotonic()
            if time.monotonic() - last_change > self._timeout:
                missing = f"{self.count - ready} of {self.count} processes"
                raise TimeoutError(f"--timeout {self._timeout}: {missing} are not done, and no batch has come since")
            time.sleep(_SECONDS_BETWEEN_LOOKS)


@contextmanager
def process_group(timeout: int) -> Iterator[EvaluationGroup]:
    """Let the processes that torchrun started talk to each other, for as long as the context lasts."""
    if process_count() == 1:
        yield EvaluationGroup()
        return
    import torch.distributed as distributed

    limit = timedelta(seconds=timeout)
    store, rank, count = next(distributed.rendezvous("env://", timeout=limit))
    store.set_timeout(limit)
    group_store = distributed.PrefixStore("group", store)
    # On CPUs: what is gathered is text.
    distributed.init_process_group("gloo", store=group_store, rank=rank, world_size=count, timeout=limit)
    try:
        yield EvaluationGroup(process_rank(), count, distributed.PrefixStore("evaluation", store), timeout)
    finally:
        distributed.destroy_process_group()
