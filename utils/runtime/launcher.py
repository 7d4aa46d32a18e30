"""Start one process per GPU on this machine, and end all of them when one fails."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

from .processor import processor_cores
from .signals import leave_to_parent

_SECONDS_TO_END_ALONE = 3.0  # after the first failure: time for the others to find and report the same error
_SECONDS_BETWEEN_LOOKS = 0.1
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # receiving one twice does no harm
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def launch(command: Sequence[str], processes: int) -> int:
    """Run a command as several processes that find each other by the environment variables that torchrun sets.

    When one fails, the others are killed within seconds, for they may be waiting for it. Signals are forwarded to all.

    Returns:
        The exit code of the first process that fails, else 0. Death by a signal counts as 128 plus the signal's
        number, as in a shell.
    """
    # The environment of all processes: how they meet, how many they are, and their share of the cores.
    common = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": "0",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, processor_cores() // processes))),
        "TORCHELASTIC_RUN_ID": f"launched_by_{os.getpid()}",
    }
    started: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _: FrameType | None) -> None:
        for process in started:
            process.send_signal(number)

    # Forward signals until all have ended, then restore the handlers of before.
    earlier = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        for rank in range(processes):
            own = {**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            started.append(subprocess.Popen(command, env=own))
        return _first_failure(started)
    finally:
        for process in started:
            process.kill()
            process.wait()
        for number, handler in earlier.items():
            signal.signal(number, handler)


def exit_with_parent() -> None:
    """Have the kernel kill this process when its launcher ends: torchrun's agent, or ``launch``.

    A launcher that is killed cannot end its processes; they would wait for each other, or train on unnoticed.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _die_with_parent()


def start_data_worker(parent: int) -> None:
    """Prepare a data worker: ignore signals, and end with the ``parent`` process, however that ends.

    Torch's own watch fails if the parent is killed before the watch begins: the worker would never end.
    """
    leave_to_parent()
    end_with(parent)


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its ``parent`` ends, which may have ended already."""
    _die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def this_command() -> list[str]:
    """Return the command line that runs this program again, be it a file, a console script or ``python -m``."""
    return [sys.executable, *sys.orig_argv[1:]]


def _first_failure(started: list[subprocess.Popen[bytes]]) -> int:
    """Wait for all processes, or until shortly after the first failure.

    Returns:
        The exit code of the first process that fails, else 0.
    """
    failed, deadline = 0, float("inf")
    while time.monotonic() < deadline:
        codes = [process.poll() for process in started]
        if failed == 0 and any(codes):
            failed = next(code for code in codes if code)
            deadline = time.monotonic() + _SECONDS_TO_END_ALONE
        if None not in codes:
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return 128 - failed if failed < 0 else failed


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
