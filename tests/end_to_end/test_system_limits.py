"""Limits of the real system that commands reach: one line that names the limit, exit code 2, nothing half-written."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT, Command, start_process
from tests.few_processes import with_most_processes
from tests.mounts import small_disk, with_shared_memory
from tests.tiny_setup import TinySetup
from tests.utils.data.test_batch_sampler import make_sampler
from tests.utils.data.test_loaders import Indices
from utils.checkpoint.checkpoint_io import checkpoints, is_intact
from utils.data.loaders import batch_loader

WORKERS = ["--num_workers", "2"]
LONGEST_SECONDS = 60


def test_too_few_descriptors(setup: TinySetup, tmp_path: Path) -> None:
    """Refused before anything is written."""
    flags = [*setup.training_flags, *WORKERS, "--output_dir", str(tmp_path / "results")]
    command = Command("finetune.py", flags, tmp_path / "log")
    resource.prlimit(command.process.pid, resource.RLIMIT_NOFILE, (24, 24))
    assert command.wait() == 2, command.output
    assert command.output.startswith("error: --num_workers 2: no more than 24 files can be open at once: raise this")
    assert command.output.count("\n") == 1 and not (tmp_path / "results").exists()


def test_a_worker_is_killed(setup: TinySetup, tmp_path: Path) -> None:
    """As the system does if memory runs out: the checkpoints stay."""
    flags = [*setup.training_flags, "--output_dir", str(tmp_path / "results")]
    flags += ["--max_steps", "2000", "--save_checkpoint_steps", "4", "--val_check_interval", "5"]
    command = Command("finetune.py", [*flags, *WORKERS], tmp_path / "log")
    command.wait_for("step 8/")
    parent = command.process.pid
    os.kill(int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0]), signal.SIGKILL)
    assert command.wait() == 2, command.output
    line = command.output.splitlines()[-1]
    assert line.startswith("error: --num_workers 2: a process that prepares batches was killed")
    assert is_intact(checkpoints(tmp_path / "results")[-1])


def test_no_inode_is_left(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """The system's own message is that of a full disk."""
    with small_disk(tmp_path / "disk", "1m,nr_inodes=4") as disk:
        arguments = map(str, [whole_run / "best_tfmr", setup.config, setup.data, disk])
        command = Command("run_eval.py", list(arguments), tmp_path / "log")
        assert command.wait() == 2, command.output
        line = command.output.splitlines()[-1]
        assert line.startswith(f"error: {disk}/test_") and line.endswith("no inode left (df -i): delete files")
        assert (disk / "test_journal.0.jsonl").exists() and not list(disk.glob(".*.part"))


def fail_with_a_worker() -> None:
    batches = iter(batch_loader(Indices(), make_sampler().batches(0, 9), 1, pin_memory=False))
    next(batches)
    raise SystemExit(7)


def test_a_program_that_fails_does_not_wait_for_its_workers() -> None:
    """They ignore SIGTERM, by which the multiprocessing library ends them."""
    process = start_process(fail_with_a_worker)
    process.join(LONGEST_SECONDS)
    is_over = not process.is_alive()
    process.kill()
    assert is_over and process.exitcode == 7


@pytest.mark.slow
def test_little_shared_memory(setup: TinySetup, tmp_path: Path) -> None:
    """Two pages are too few; what a training needs does not depend on the size of its batches."""
    for size, code in (("size=8k", 2), ("size=512k", 0)):
        folder = tmp_path / size
        flags = [*setup.training_flags, *WORKERS, "--train_batch_size", "61", "--output_dir", str(folder)]
        command = with_shared_memory(size, [sys.executable, str(ROOT / "finetune.py"), *flags])
        result = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert result.returncode == code, result.stderr
        assert folder.exists() == (code == 0)
        assert (code == 0) or result.stderr.startswith("error: --num_workers 2: the shared memory /dev/shm is full")


@pytest.mark.slow
def test_too_few_threads(setup: TinySetup, whole_run: Path) -> None:
    summarize = [sys.executable, "-m", "utils.commands.summarize"]
    command = with_most_processes(1, [*summarize, str(whole_run / "best_tfmr"), str(setup.data / "test.source")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # OpenMP itself ends a program that gets fewer threads
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith("error: no more processes and threads can be started: raise this limit (ulimit -u, now 1;")


@pytest.mark.slow
def test_a_small_address_space(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    arguments = list(map(str, [whole_run / "best_tfmr", setup.config, setup.data, tmp_path / "results"]))
    command = ["prlimit", "--as=700000000:700000000", sys.executable, str(ROOT / "run_eval.py"), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode == 2, result.stderr
    line = result.stderr.splitlines()[-1]
    assert line == "error: out of memory: the address space has 0.7 GB: raise this limit (ulimit -v)"
