"""What several GPUs run, on one: NCCL, sharding on CUDA, cores near the GPU."""

import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from tests.commands import refusal, run, run_as_torchrun
from tests.end_to_end.test_processes import assert_same_training
from tests.tiny_setup import TinySetup, tiny_config, write_tiny_setup
from tests.utils.training.strategies.test_select import fit
from utils.cli.training_args import DistributedSettings
from utils.io.json_files import read_json
from utils.runtime.cpu_affinity import bind_to_gpu_cores
from utils.training.strategies.select import training_strategy

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> TinySetup:
    return write_tiny_setup(tmp_path_factory.mktemp("setup"))


def on_one(device: str, setup: TinySetup) -> list[str]:
    return [*setup.training_flags, "--gpus", "1" if device == "cuda" else "0", "--dropout", "0", "--max_steps", "8"]


def test_sharded(setup: TinySetup, tmp_path: Path, device: str) -> None:
    """fully_shard on CUDA, of one slice, with NCCL; in float32 and in bfloat16."""
    for precision in ([], ["--bf16"]):
        runs = [tmp_path / "".join(["plain", *precision]), tmp_path / "".join(["sharded", *precision])]
        run("finetune.py", [*on_one(device, setup), *precision, "--output_dir", str(runs[0])], tmp_path / "log")
        flags = [*on_one(device, setup), *precision, "--strategy", "fsdp", "--output_dir", str(runs[1])]
        run_as_torchrun("finetune.py", flags, tmp_path / "log", processes=1)
        if not precision:
            assert_same_training(runs[1], runs[0])
        losses = [read_json(folder / "metrics.json")["validation"][-1]["loss"] for folder in runs]
        assert abs(losses[0] - losses[1]) < 0.05


class UsesBackend(pl.Callback):
    def __init__(self, expected: str) -> None:
        self.expected = expected

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert torch.distributed.get_backend() == self.expected


def test_ddp_with_nccl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    """The strategy of several GPUs, with a single one."""
    names = {"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    for name, value in (names | {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test"}).items():
        monkeypatch.setenv(name, value)
    alone = fit("auto", 2, tmp_path, [], device)
    for number, accumulation in enumerate((1, 2)):
        monkeypatch.setenv("MASTER_PORT", str(29511 + number))
        strategy = training_strategy(DistributedSettings(), tiny_config(), 2, accumulation)
        module = fit(strategy, accumulation, tmp_path, [UsesBackend("nccl" if device == "cuda" else "gloo")], device)
        torch.distributed.destroy_process_group()
    torch.testing.assert_close(module.layer.weight, alone.layer.weight)


@pytest.mark.usefixtures("only_cuda")
def test_cores_near_the_gpu() -> None:
    pytest.importorskip("pynvml")
    before = os.sched_getaffinity(0)
    try:
        bind_to_gpu_cores(0)
        assert os.sched_getaffinity(0) and os.sched_getaffinity(0) <= before
    finally:
        os.sched_setaffinity(0, before)


def test_more_gpus_than_there_are(setup: TinySetup, tmp_path: Path) -> None:
    asked = torch.cuda.device_count() + 1
    flags = [*setup.training_flags, "--gpus", str(asked), "--output_dir", str(tmp_path / "results")]
    assert refusal("finetune.py", flags, tmp_path / "log").startswith(f"error: --gpus {asked}: this machine has")
