"""Iterators that work in a thread: one item ahead of its use, or as many as can be had without waiting."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class _End(Generic[Item]):
    """The last thing in a queue: the end of the items, or what was raised instead of the next one."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


def read_ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """Yield the items. While one is in use, a thread gets the next one, and no more than that.

    What getting an item raises is raised after the items before it. Closing this ends the thread, as soon as the item
    that it is waiting for has come.
    """
    found: queue.SimpleQueue[Item | _End[Item]] = queue.SimpleQueue()
    wanted = threading.Semaphore(1)
    is_closed = threading.Event()

    def get_next() -> bool:
        wanted.acquire()
        return not is_closed.is_set()

    _in_a_thread(items, found.put, get_next)
    try:
        while not isinstance(item := found.get(), _End):
            wanted.release()
            yield item
    finally:
        is_closed.set()
        wanted.release()
    if item.error is not None:
        raise item.error


def as_they_come(items: Iterable[Item], most: int) -> Iterator[list[Item]]:
    """Yield lists of up to ``most`` items: all that can be had without waiting, but at least one.

    A thread gets the items, up to ``most`` before they are asked for. What getting an item raises is raised after the
    items before it.
    """
    found: queue.Queue[Item | _End[Item]] = queue.Queue(maxsize=most)
    _in_a_thread(items, found.put, lambda: True)
    item: Item | _End[Item] | None = None
    while not isinstance(item, _End):
        several: list[Item] = []
        while not isinstance(item := found.get(), _End):
            several.append(item)
            if len(several) == most or found.empty():
                break
        if several:
            yield several
    if item.error is not None:
        raise item.error


def _in_a_thread(
    items: Iterable[Item], put: Callable[[Item | _End[Item]], object], get_next: Callable[[], bool]
) -> None:
    """Start a thread that puts each item, and then the end, as long as ``get_next`` returns True."""

    def work() -> None:
        remaining = iter(items)
        while get_next():
            try:
                item = next(remaining)
            except StopIteration:
                put(_End())
                return
            except Exception as error:
                put(_End(error))
                return
            put(item)

    threading.Thread(target=work, daemon=True).start()
