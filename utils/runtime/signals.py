"""Signals that ask a program to end: SIGINT (Ctrl-C), SIGTERM, and the SIGUSR1 that SLURM sends before a time limit.

utils/cli/run.py lets them raise ``Interrupted``; during a training utils/training/callbacks/checkpoint_saver.py notes
them, and saves first; scripts/lib/jobs.sh forwards them to the program.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@dataclass
class _Noted:
    """What ``on_signal`` and ``interruptible`` share."""

    number: int = 0  # of a signal that has been noted; 0 for none
    is_interruptible: bool = False  # whether a signal that is noted is also raised


_noted = _Noted()


class Interrupted(BaseException):
    """Raised to end a program after a signal. Like KeyboardInterrupt, it is not an Exception."""

    def __init__(self, number: int, all_agree: bool = False) -> None:
        """Keep the number of the signal, and whether all processes that work together raise this at the same place."""
        super().__init__(number)
        self.number = number
        self.all_agree = all_agree

    @property
    def exit_code(self) -> int:
        """Return 130 for SIGINT, else 143, as a shell reports death by SIGINT and SIGTERM."""
        return 128 + (self.number if self.number == signal.SIGINT else signal.SIGTERM)

    def __str__(self) -> str:
        return signal.Signals(self.number).name


def raise_on_signal() -> None:
    """From now on, raise Interrupted at the first signal, wherever the program is, and ignore those that follow."""

    def end(number: int, _: FrameType | None) -> None:
        on_signal(lambda _: None)
        _noted.is_interruptible = False
        raise Interrupted(number)

    _handle(end)


def on_signal(note: Callable[[int], None]) -> None:
    """From now on, call ``note`` with the number of each signal, and go on: except in an ``interruptible`` block."""
    _noted.number = 0

    def handle(number: int, _: FrameType | None) -> None:
        note(number)
        _noted.number = _noted.number or number
        if _noted.is_interruptible:
            _noted.is_interruptible = False  # while this unwinds, signals are noted alone
            raise Interrupted(number)

    _handle(handle)


def noted_signal() -> int:
    """Return the number of the first signal since ``on_signal`` was called, 0 for none."""
    return _noted.number


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted within the block at a signal that otherwise would only be noted, be it from before the block.

    For work that takes long and leaves nothing behind, such as a search.
    """
    _noted.is_interruptible = True
    try:
        if _noted.number:
            raise Interrupted(_noted.number)
        yield
    finally:
        _noted.is_interruptible = False


@contextmanager
def held_back() -> Iterator[None]:
    """Let signals to this thread wait for the end of the block. Processes that start within it never get any."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # may raise what was noted before
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_to_parent() -> None:
    """Ignore the signals in a process that ends when its parent does."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)
