"""Signals that ask a program to end: SIGINT (Ctrl-C), SIGTERM, and the SIGUSR1 that SLURM sends before a time limit.

utils/cli/run.py lets them raise ``Interrupted``; during a training utils/training/callbacks/checkpoint_saver.py saves
first; scripts/lib/jobs.sh forwards them to the program.
"""

import signal
from collections.abc import Callable
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Interrupted(BaseException):
    """Raised to end a program after a signal. Like KeyboardInterrupt, it is not an Exception."""

    def __init__(self, number: int) -> None:
        """Keep the number of the signal."""
        super().__init__(number)
        self.number = number

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
        raise Interrupted(number)

    _handle(end)


def on_signal(note: Callable[[int], None]) -> None:
    """From now on, call ``note`` with the number of each signal, and go on."""
    _handle(lambda number, _: note(number))


def leave_to_parent() -> None:
    """Ignore the signals in a process that ends when its parent does."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        signal.signal(number, handler)
