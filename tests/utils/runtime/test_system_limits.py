"""Limits of the real system, reached by processes of their own: the line about each, and work that goes on alone."""

import errno
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.few_processes import with_most_processes
from tests.mounts import small_disk, with_shared_memory
from utils.runtime.system_limits import limit_reached

PROGRAM = """
import sys
from utils.runtime.process_pool import map_in_processes
from utils.runtime.system_limits import LimitReached, check_room_for_processes, limit_named

if __name__ == "__main__":
    try:
        with limit_named("--num_workers 2", "give a lower number"):
            check_room_for_processes(2)
        print("enough", flush=True)
    except LimitReached as error:
        print(error, flush=True)
    print(map_in_processes(str.upper, ["a", "b", "c"], 2))
"""


def with_descriptors(command: list[str]) -> list[str]:
    return ["prlimit", "--nofile=20:20", *command]


def with_threads(command: list[str]) -> list[str]:
    return with_most_processes(4, command)


def with_little_shared_memory(command: list[str]) -> list[str]:
    return with_shared_memory("size=4k", command)


def with_few_inodes(command: list[str]) -> list[str]:
    return with_shared_memory("size=1m,nr_inodes=4", command)


def run_limited(limited: Callable[[list[str]], list[str]], tmp_path: Path) -> list[str]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = limited([sys.executable, str(program)])
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no program {command[0]}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout
    return result.stdout.splitlines()


@pytest.mark.parametrize(
    ("limited", "limit"),
    [
        (with_descriptors, "no more than 20 files can be open at once: raise this limit (ulimit -n)"),
        (with_threads, "no more processes and threads can be started: raise this limit (ulimit -u, now 4;"),
        (with_little_shared_memory, "the shared memory /dev/shm is full (0.0 MB in all): enlarge it"),
        (with_few_inodes, "the shared memory /dev/shm has no inode left (df -i)"),
    ],
)
def test_a_limit_is_named_and_a_pool_does_without(
    limited: Callable[[list[str]], list[str]], limit: str, tmp_path: Path
) -> None:
    line, warning, result = run_limited(limited, tmp_path)
    assert line.startswith(f"--num_workers 2: {limit}") and line.endswith(", or give a lower number")
    assert warning.startswith(f"warning: one process does what 2 should do, which takes longer: {limit}")
    assert result == "['A', 'B', 'C']"


def test_without_limits_there_are_processes(tmp_path: Path) -> None:
    assert run_limited(list, tmp_path) == ["enough", "['A', 'B', 'C']"]


def test_a_disk_without_inodes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m,nr_inodes=2") as disk:
        (disk / "first").touch()
        with pytest.raises(OSError, match="No space left") as caught:
            (disk / "second").touch()
        assert limit_reached(caught.value) == "there is room, but no inode left (df -i): delete files"


def test_other_errors_are_no_limits() -> None:
    would_block = BlockingIOError(errno.EAGAIN, "write could not complete without blocking", 0)
    for error in (OSError(errno.ENOENT, "none", "x"), RuntimeError("a bug"), ValueError(), would_block):
        assert limit_reached(error) is None


def test_the_cause_of_an_error_counts() -> None:
    error = ValueError("cannot be read")
    error.__cause__ = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert f"no more than {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} files" in limit_reached(error)
    assert "out of memory" in limit_reached(MemoryError())
