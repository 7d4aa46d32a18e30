"""However a step's batches are spread over processes, accumulation and machines, the same is learnt."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT, run_as_torchrun
from tests.end_to_end.test_processes import assert_same_training
from tests.tiny_setup import TinySetup
from utils.io.json_files import read_json

pytestmark = pytest.mark.slow
FOUR_A_STEP = ["--train_batch_size", "1", "--dropout", "0", "--max_steps", "12", "--n_train", "33"]


@pytest.fixture(scope="module")
def alone(setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process that does it all. Read only."""
    folder = tmp_path_factory.mktemp("alone")
    train(setup, folder, 1, 4, [])
    return folder


def train(setup: TinySetup, folder: Path, processes: int, accumulation: int, more: list[str]) -> None:
    flags = [*setup.training_flags, *FOUR_A_STEP, "--gradient_accumulation_steps", str(accumulation), *more]
    run_as_torchrun("finetune.py", [*flags, "--output_dir", str(folder)], folder.with_suffix(".log"), processes)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("processes, accumulation", [(1, 4), (2, 2), (4, 1)])
def test_processes(
    setup: TinySetup, alone: Path, tmp_path: Path, processes: int, accumulation: int, strategy: str
) -> None:
    train(setup, tmp_path / "run", processes, accumulation, ["--strategy", strategy])
    assert_same_training(tmp_path / "run", alone)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_batch_of_four_in_two_processes_without_accumulation(
    setup: TinySetup, alone: Path, tmp_path: Path, strategy: str
) -> None:
    train(setup, tmp_path / "run", 2, 1, ["--strategy", strategy, "--train_batch_size", "2"])
    assert_same_training(tmp_path / "run", alone)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_machines(setup: TinySetup, alone: Path, tmp_path: Path, strategy: str) -> None:
    """Two agents of torchrun that find each other by c10d, with two processes each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "2"]
    command += ["--rdzv_backend", "c10d", "--rdzv_endpoint", f"127.0.0.1:{port}", "--rdzv_id", "test"]
    flags = [*setup.training_flags, *FOUR_A_STEP, "--gradient_accumulation_steps", "1", "--strategy", strategy]
    command += ["--local_addr", "127.0.0.1", str(ROOT / "finetune.py"), *flags, "--output_dir", str(tmp_path / "run")]
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    agents = []
    for log in logs:
        with log.open("w") as output:
            agents.append(subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output))
    try:
        assert [agent.wait(200) for agent in agents] == [0, 0], "".join(log.read_text() for log in logs)
    finally:
        for agent in agents:
            agent.kill()
    assert read_json(tmp_path / "run" / "run.json")["processes"] == 4
    assert_same_training(tmp_path / "run", alone)
