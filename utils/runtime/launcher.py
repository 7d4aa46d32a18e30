"""Starting one process per GPU on this machine, and ending all of them when one ends badly."""

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

_SECONDS_TO_END_ALONE = 3.0  # after another's failure: time for the same error to be found, and said, everywhere
_SECONDS_BETWEEN_LOOKS = 0.1
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # to be told twice does no harm
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def launch(command: Sequence[str], processes: int) -> int:
    """Run a command as so many processes that find each other as torchrun's do; returns the first exit code not 0.

    None outlives a failure of another by more than seconds: they may be waiting for it. Death by a signal counts as 128
    and the signal's number, as in a shell.
    """
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
    """Let the kernel end this process when the one that started it ends: torchrun's agent, or ``launch``.

    A launcher that is killed cannot end its processes, and they would wait for each other, or train on unseen.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _die_with_parent()


def serve(_: int, parent: int) -> None:
    """What a process that prepares batches does first: heed no signals, and end with its ``parent``, however that ends.

    Torch's own watch over the parent fails where that is killed before it begins: the process would be there for ever.
    """
    leave_to_parent()
    _die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def this_command() -> list[str]:
    """The command line that runs this program again, be it a file, a console script or ``python -m``."""
    return [sys.executable, *sys.orig_argv[1:]]


def _first_failure(started: list[subprocess.Popen[bytes]]) -> int:
    """Wait for all, or for the first that fails and then not much longer; returns its exit code, 0 if none fails."""
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
