"""A pool of real processes whose items take minutes: a signal, or the death of this process, ends all at once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT

PROGRAM = r"""
import os
import sys
import time
from dataclasses import dataclass

from utils.cli.run import run_command
from utils.runtime.process_pool import map_in_processes

@dataclass
class Arguments:
    def check(self): pass

def write(number):
    os.write(1, b"napping\n" * (number == 0))
    return bytes(10**7)

def nap(seconds):
    os.write(1, b"napping\n")  # at once: the processes share standard output
    time.sleep(seconds)

if __name__ == "__main__":
    sys.exit(run_command(Arguments, "", lambda _: map_in_processes(FUNCTION, ITEMS, 2)))
"""


def group_is_gone(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("number", "to_all", "large_results", "code", "errors"),
    [
        (signal.SIGTERM, False, False, 143, "SIGTERM: interrupted\n"),
        (signal.SIGTERM, False, True, 143, "SIGTERM: interrupted\n"),  # in the midst of a result
        (signal.SIGINT, True, False, 130, "SIGINT: interrupted\n"),  # as a terminal does
        (signal.SIGUSR1, True, False, 143, "SIGUSR1: interrupted\n"),  # as SLURM does
        (signal.SIGKILL, False, False, -signal.SIGKILL, None),  # Python's own process says what a killed one has left
    ],
)
def test_a_signal_ends_all(
    number: signal.Signals, to_all: bool, large_results: bool, code: int, errors: str | None, tmp_path: Path
) -> None:
    """Without a word of the others, of which none stays behind."""
    function, items = ("write", "range(1000)") if large_results else ("nap", "[300] * 4")
    (tmp_path / "program.py").write_text(PROGRAM.replace("FUNCTION", function).replace("ITEMS", items))
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "napping\n"
        (os.killpg if to_all else os.kill)(process.pid, number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == code and errors in (said, None), said
    deadline = time.monotonic() + 60
    while not group_is_gone(process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
