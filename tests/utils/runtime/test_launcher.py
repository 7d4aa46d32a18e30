"""Tests with real processes, of programs that start quickly."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.commands import ROOT

# os.write, as print() with PYTHONUNBUFFERED writes a line in two parts, between which another process may write.
RANK = """
import os, signal, sys, time
from utils.runtime.launcher import exit_with_parent
rank = int(os.environ["RANK"])
def say(value): os.write(1, f"{value}\\n".encode())
"""
SAY_PID_AND_SLEEP = "exit_with_parent(); say(os.getpid()); time.sleep(600)\n"


@contextmanager
def launched(program: str, processes: int) -> Iterator[subprocess.Popen[str]]:
    """Yield a launcher of several processes that run a program."""
    code = "import sys; from utils.runtime.launcher import launch; sys.exit(launch([sys.executable, '-c', {!r}], {}))"
    command = [sys.executable, "-c", code.format(RANK + program, processes)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as launcher:
        yield launcher
        launcher.kill()


def read_numbers(launcher: subprocess.Popen[str], count: int) -> list[int]:
    assert launcher.stdout is not None
    return [int(launcher.stdout.readline()) for _ in range(count)]


def are_gone(pids: list[int]) -> bool:
    """Return whether all processes end within seconds."""
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_the_exit_code_is_that_of_the_first_failure() -> None:
    with launched("time.sleep(rank / 4); sys.exit(7 * rank)", 3) as launcher:
        assert launcher.wait(30) == 7
    with launched("pass", 3) as launcher:
        assert launcher.wait(30) == 0


def test_they_find_each_other() -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    with launched(f"say([os.environ[name] for name in {names}])", 2) as launcher:
        lines = sorted(launcher.communicate(timeout=30)[0].splitlines())
    first, second = (eval(line) for line in lines)
    assert first[:5] == ["0", "0", "2", "2", "127.0.0.1"] and second == ["1", "1", *first[2:]]


def test_one_that_is_killed_ends_all() -> None:
    with launched(f"if rank == 1: os.kill(os.getpid(), signal.SIGKILL)\n{SAY_PID_AND_SLEEP}", 3) as launcher:
        pids = read_numbers(launcher, 2)
        assert launcher.wait(30) == 128 + signal.SIGKILL
        assert are_gone(pids)


def test_none_outlives_the_launcher() -> None:
    with launched(SAY_PID_AND_SLEEP, 2) as launcher:
        pids = read_numbers(launcher, 2)
        launcher.kill()
        assert are_gone(pids)


def test_sigterm_reaches_all() -> None:
    program = f"signal.signal(signal.SIGTERM, lambda *_: (say(-rank), sys.exit(143)))\n{SAY_PID_AND_SLEEP}"
    with launched(program, 2) as launcher:
        read_numbers(launcher, 2)
        os.kill(launcher.pid, signal.SIGTERM)
        assert sorted(read_numbers(launcher, 2)) == [-1, 0]  # else the launcher would have killed one without a signal
        assert launcher.wait(30) == 143


ORPHAN = """
import os, time
from utils.runtime.launcher import start_data_worker
parent = os.getpid()
if os.fork() == 0:
    while {killed} and os.getppid() == parent:
        time.sleep(0.01)
    start_data_worker(parent)
    os.write(1, f"{{os.getpid()}}\\n".encode())
    time.sleep(600)
os.write(1, f"{{os.getpid()}}\\n".encode())
time.sleep(600)
"""


@pytest.mark.parametrize("killed_before", [True, False])
def test_a_process_that_prepares_batches_ends_with_its_parent(killed_before: bool) -> None:
    """Also if the parent was killed before the worker could watch it."""
    command = [sys.executable, "-c", ORPHAN.format(killed=killed_before)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        pids = read_numbers(process, 1 if killed_before else 2)
        children = list(map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()))
        assert process.pid in pids and len(children) == 1
        process.kill()
        assert are_gone(children)
