"""The mean of the last checkpoints beside the best one."""

from pathlib import Path

import pytest

from tests.commands import Command, run, run_as_torchrun
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints
from utils.io.json_files import read_json


def steps_of(folder: Path) -> list[int]:
    return [checkpoint_step(path) for path in checkpoints(folder)]


def test_killed_after_the_last_step_it_is_the_same(setup: TinySetup, tmp_path: Path) -> None:
    """After the last validation, before anything is averaged; the test split is evaluated with both models."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = [*setup.training_flags, "--n_test", "-1", "--average_checkpoints", "3", "--save_checkpoint_steps", "3"]
    output = run("finetune.py", [*flags, "--output_dir", str(whole)], tmp_path / "log")
    assert "averaged the checkpoints of steps 12, 16, 20\nvalidation loss: best (step 20) " in output
    assert steps_of(whole) == [12, 16, 18, 20]
    average = read_json(whole / "averaged" / "average.json")
    metrics = read_json(whole / "metrics.json")["validation"]
    assert average["best"] == metrics[-1]["loss"] and average["averaged"] == average["validation"]["loss"]
    assert metrics[-1]["loss"] < average["averaged"] < metrics[-3]["loss"] and average["better"] == "best"
    report = read_json(whole / "averaged" / "test_rouge.json")
    assert report["n_obs"] == 7 and report["model"] == str(whole / "averaged_tfmr")
    assert read_json(whole / "test_rouge.json")["model"] == str(whole / "best_tfmr")

    flags += ["--output_dir", str(killed), "--resume"]
    Command("finetune.py", flags, tmp_path / "log0").kill_at("step 20/20  validation")
    run("finetune.py", flags, tmp_path / "log")
    assert_same_end(killed, whole, 20)
    for name in ("averaged_tfmr/model.safetensors", "averaged/average.json", "best_tfmr/model.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()

    # Fewer of them, of which one is the best: its validation is repeated exactly. Then none.
    output = run("finetune.py", [*flags, "--average_checkpoints", "1"], tmp_path / "log")
    assert "averaged the checkpoints of steps 20\n" in output and "the average is not better" in output
    average = read_json(killed / "averaged" / "average.json")
    assert average["averaged"] == average["best"]
    model = (killed / "averaged_tfmr" / "model.safetensors").read_bytes()
    assert model == (killed / "best_tfmr" / "model.safetensors").read_bytes()
    run("finetune.py", [*flags, "--average_checkpoints", "0"], tmp_path / "log")
    assert not list(killed.glob("averaged*"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes(setup: TinySetup, tmp_path: Path, strategy: str) -> None:
    """The first one averages; there are fewer validations than were asked for."""
    flags = [*setup.training_flags, "--average_checkpoints", "20", "--strategy", strategy, "--n_test", "-1"]
    output = run_as_torchrun("finetune.py", [*flags, "--output_dir", str(tmp_path / "out")], tmp_path / "log", 2)
    assert "averaged the checkpoints of steps 2, 4, 6, 8, 10, 12, 14, 16, 18, 20 (10 instead of 20)\n" in output
    assert steps_of(tmp_path / "out") == [2, 4, 6, 8, 10, 12, 14, 16, 18, 19, 20]
    assert read_json(tmp_path / "out" / "averaged" / "test_rouge.json")["n_obs"] == 7
