"""When a process of a training dies or hangs, all end, with an exit code that says so."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, start_as_torchrun
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints

LAUNCH = "import sys; from utils.runtime.launcher import launch; sys.exit(launch([sys.executable, *sys.argv[1:]], 2))"
LAUNCHERS = {
    "own": [sys.executable, "-c", LAUNCH],
    "torchrun": [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"],
}


def long_training(setup: TinySetup, folder: Path) -> list[str]:
    return [*setup.training_flags, "--max_steps", "100000", "--output_dir", str(folder)]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_other_process_notices(setup: TinySetup, tmp_path: Path, rank: int) -> None:
    """Without a launcher that sees the death, as on another machine."""
    commands = start_as_torchrun("finetune.py", [long_training(setup, tmp_path / "results")] * 2, tmp_path / "log")
    commands[0].wait_for("step 3/")
    commands[rank].process.kill()
    start = time.monotonic()
    assert commands[1 - rank].wait() != 0
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("told", [[0], pytest.param([0, 1], marks=pytest.mark.slow)])
def test_sigterm_ends_all_at_the_same_step(setup: TinySetup, tmp_path: Path, told: list[int]) -> None:
    """With a checkpoint, whichever of them it reaches; if steps are long, after the one in which it comes."""
    results = tmp_path / "results"
    flags = [*long_training(setup, results), "--save_checkpoint_steps", "100000", "--val_check_interval", "1000000"]
    commands = start_as_torchrun("tests/long_steps.py", [flags] * 2, tmp_path / "log")
    commands[0].wait_for("step 3/")
    for rank in told:
        os.kill(commands[rank].process.pid, signal.SIGTERM)
    assert [command.wait() for command in commands] == [143, 143]
    _, after_signal = commands[0].output.split("send it again to end now\n")
    assert after_signal.count("step ") <= 2, after_signal  # of the present one, and "saved at step"
    assert f"saved at step {checkpoint_step(checkpoints(results)[-1])};" in after_signal


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_process_that_hangs(setup: TinySetup, tmp_path: Path, rank: int) -> None:
    """The other one gives up after the timeout."""
    flags = [*long_training(setup, tmp_path / "results"), "--timeout", "5"]
    commands = start_as_torchrun("finetune.py", [flags] * 2, tmp_path / "log")
    commands[0].wait_for("step 3/")
    os.kill(commands[rank].process.pid, signal.SIGSTOP)
    try:
        assert commands[1 - rank].wait() != 0
    finally:
        commands[rank].process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_launched_process_is_killed(setup: TinySetup, tmp_path: Path, launcher: str, rank: int) -> None:
    all_end(setup, tmp_path, launcher, lambda _, ranks: os.kill(ranks[rank], signal.SIGKILL))


@pytest.mark.parametrize("launcher", ["own", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_the_launcher_is_killed(setup: TinySetup, tmp_path: Path, launcher: str) -> None:
    all_end(setup, tmp_path, launcher, lambda pid, _: os.kill(pid, signal.SIGKILL))


def all_end(setup: TinySetup, tmp_path: Path, launcher: str, strike: Callable[[int, list[int]], None]) -> None:
    """Within 30 seconds after ``strike(launcher's pid, pids by rank)``, which hits a training of two processes."""
    log = tmp_path / "log"
    command = [*LAUNCHERS[launcher], str(ROOT / "finetune.py"), *long_training(setup, tmp_path / "results")]
    with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + 120
            while "step 3/" not in log.read_text():
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            ranks = children_by_rank(process.pid)
            strike(process.pid, ranks)
            assert process.wait(30) != 0
            deadline = time.monotonic() + 10
            while any(Path(f"/proc/{pid}").exists() for pid in ranks):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            process.kill()


def children_by_rank(pid: int, kind: str = "RANK") -> list[int]:
    """The processes that a launcher has started as its ranks 0 and 1."""
    by_rank = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        for rank in (0, 1):
            if f"{kind}={rank}".encode() in environment:
                by_rank[rank] = int(child)
    return [by_rank[rank] for rank in sorted(by_rank)]
