"""Signals that are noted, and blocks that they interrupt nevertheless."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from utils.runtime.signals import Interrupted, held_back, interruptible, noted_signal, on_signal, raise_on_signal


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield
    on_signal(lambda _: None)  # forgets what was noted
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_block_is_interrupted_once() -> None:
    """Once: what follows while it unwinds is noted alone."""
    noted: list[int] = []
    on_signal(noted.append)
    with pytest.raises(Interrupted) as interruption, interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
    assert noted == [signal.SIGTERM, signal.SIGINT] and interruption.value.number == signal.SIGTERM
    os.kill(os.getpid(), signal.SIGINT)
    assert len(noted) == 3


def test_a_signal_before_the_block_interrupts_it() -> None:
    on_signal(lambda _: None)
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(Interrupted, match="SIGUSR1"), interruptible():
        pytest.fail("the block must not begin")
    on_signal(lambda _: None)
    with interruptible():
        pass


def test_where_signals_are_raised_a_block_changes_nothing() -> None:
    raise_on_signal()
    with pytest.raises(Interrupted), interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)


def test_signals_wait_for_the_end_of_a_block() -> None:
    on_signal(lambda _: None)
    with held_back():
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)  # not to another thread that a library has started
        assert noted_signal() == 0
    assert noted_signal() == signal.SIGUSR1
