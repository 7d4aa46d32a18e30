"""Tests with real processes that hold the lock, die and fork."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bart.errors import InputError
from tests.commands import ROOT
from utils.io.folder_lock import LOCK_FILE, FolderLock

HOLD = """
import os, sys, time
from pathlib import Path
from utils.io.folder_lock import FolderLock
with FolderLock(Path(sys.argv[1]), "--output_dir"):
    if sys.argv[2] == "fork" and os.fork() == 0:
        time.sleep(600)
    print(os.getpid(), flush=True)
    time.sleep(600 if sys.argv[2] != "briefly" else 1)
"""


@contextmanager
def holder(folder: Path, way: str = "hold") -> Iterator[subprocess.Popen[str]]:
    """Yield a process that has taken the lock."""
    command = [sys.executable, "-c", HOLD, str(folder), way]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None and int(process.stdout.readline()) == process.pid
        yield process
        process.kill()


def test_the_second_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(InputError, match=rf"^--output_dir {tmp_path}: is in use .*\(process {process.pid} on "):
            FolderLock(tmp_path, "--output_dir").__enter__()
        assert process.poll() is None


def test_it_goes_with_a_killed_process_and_not_with_its_children(tmp_path: Path) -> None:
    with holder(tmp_path, "fork") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with FolderLock(tmp_path, "--output_dir") as lock:
            assert not lock.hold()  # it is held already
            assert f"process {process.pid}" not in (tmp_path / LOCK_FILE).read_text()
        os.killpg(process.pid, signal.SIGKILL)  # the child is still alive


def test_one_that_ends_soon_is_waited_for(tmp_path: Path) -> None:
    with holder(tmp_path, "briefly") as process, FolderLock(tmp_path, "--output_dir"):
        assert process.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with FolderLock(folder, "--output_dir") as lock:
        assert not folder.exists()
        folder.mkdir()
        assert lock.hold()
        with pytest.raises(InputError, match="is in use"):
            FolderLock(folder, "--output_dir").__enter__()
        FolderLock(folder, "--output_dir", is_holder=False).__enter__()
    assert list(folder.iterdir()) == []
