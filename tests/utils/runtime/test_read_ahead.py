"""Iterators that work in a thread."""

import queue
import threading
import time
from collections.abc import Iterator
from itertools import chain

import pytest

from utils.runtime.read_ahead import as_they_come, read_ahead


class Numbers:
    """Yields numbers, and counts how many it was asked for."""

    def __init__(self, end: int = 1000, error: Exception | None = None) -> None:
        self.end, self.error, self.given = end, error, 0

    def __iter__(self) -> Iterator[int]:
        for number in range(self.end):
            self.given += 1
            yield number
        if self.error is not None:
            raise self.error


def settles_at(numbers: Numbers, given: int) -> bool:
    """Tell whether so many numbers are soon given, and no more after that."""
    end = time.monotonic() + 20
    while numbers.given < given and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    return numbers.given == given


def test_one_item_ahead_and_no_more() -> None:
    numbers = Numbers()
    ahead = read_ahead(numbers)
    assert numbers.given == 0
    for taken in range(3):
        assert next(ahead) == taken
        assert settles_at(numbers, taken + 2)
    ahead.close()
    assert settles_at(numbers, 4)


@pytest.mark.parametrize("end", [0, 1, 7])
def test_all_items_in_order(end: int) -> None:
    assert list(read_ahead(Numbers(end))) == list(range(end))
    assert list(chain.from_iterable(as_they_come(Numbers(end), 3))) == list(range(end))


def test_an_error_comes_after_the_items_before_it() -> None:
    taken = []
    with pytest.raises(ValueError, match="broken"):
        for number in read_ahead(Numbers(3, ValueError("broken"))):
            taken.append(number)
    with pytest.raises(ValueError, match="broken"):
        for numbers in as_they_come(Numbers(3, ValueError("broken")), 2):
            taken += numbers
    assert taken == [0, 1, 2, 0, 1, 2]


def test_what_is_there_is_taken_without_waiting() -> None:
    pipe: queue.Queue[str | None] = queue.Queue()
    lists = as_they_come(iter(pipe.get, None), 3)
    for line in ("a", "b"):
        threading.Timer(0.05, pipe.put, [line]).start()
        assert next(lists) == [line]
    for line in "cdefg":
        pipe.put(line)
    pipe.put(None)
    rest = list(lists)
    assert list(chain.from_iterable(rest)) == list("cdefg") and max(map(len, rest)) <= 3
