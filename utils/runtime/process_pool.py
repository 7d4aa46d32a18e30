"""Call a function for many items, in several processes."""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from .launcher import end_with
from .signals import held_back
from .system_limits import check_room_for_processes, limit_reached

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    processes: int,
    chunksize: int = 1,
    initializer: Callable[[], object] | None = None,
) -> list[Result]:
    """Return what ``function`` returns for each item, in their order.

    The processes are spawned: a script needs ``if __name__ == "__main__":``. If the system refuses them, this process
    does the work alone, and a warning says so. Signals are left to this process; if one raises here, the others end at
    once, with their items undone.

    Args:
        function: Can be pickled, as its arguments and results.
        items: Any number.
        processes: How many to start at most.
        chunksize: How many items a process is given at once.
        initializer: Each process calls it first.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads (torch's) can hang
    processes = min(processes, len(items))
    try:
        check_room_for_processes(processes)
        with held_back():  # apart from the block below: this starts Python's resource tracker, which lets some through
            pool = ProcessPoolExecutor(processes, context, _start, (os.getpid(), initializer))
        with pool, _killed_if_left(pool):
            # Left by an exception, `pool.map` would cancel what is undone, which the thread that manages a pool whose
            # processes are killed does not expect (Python 3.11).
            chunks = [items[start : start + chunksize] for start in range(0, len(items), chunksize)]
            with held_back():
                futures = [pool.submit(_call, function, chunk) for chunk in chunks]
            return [result for future in futures for result in future.result()]
    except (OSError, RuntimeError) as error:
        reason = limit_reached(error)
        if reason is None and not isinstance(error, BrokenProcessPool):
            raise
        reason = reason or "one of them was killed, or lacked memory or threads"
    text = f"warning: one process does what {processes} should do, which takes longer: {reason}"
    print(text, file=sys.stderr, flush=True)
    return _call(function, items)


def _start(parent: int, initializer: Callable[[], object] | None) -> None:
    """Prepare a process of a pool."""
    end_with(parent)
    if initializer is not None:
        initializer()


def _call(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


@contextmanager
def _killed_if_left(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Kill the processes that were started in the block if it is left by an exception: the pool would wait for them."""
    before = multiprocessing.active_children()
    try:
        yield
    except BaseException:
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()
        # One may have died in the midst of a result: while this end of the pipe is open, the pool waits for the rest.
        pool._result_queue._writer.close()
        raise
