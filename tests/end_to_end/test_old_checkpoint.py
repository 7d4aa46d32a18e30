"""A training that an earlier version began goes on: nothing in its checkpoint has another name or meaning today."""

import shutil
from pathlib import Path

import pytest

from tests.commands import run
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import load_checkpoint
from utils.io.json_files import read_json
from utils.training.callbacks.checkpoint_saver import CheckpointSaver
from utils.training.callbacks.early_stopping import EarlyStopping
from utils.training.callbacks.metrics_history import TrainingHistory
from utils.training.callbacks.rng_state import RngState
from utils.training.lamb import Lamb
from utils.training.precision_plugin import NativeAmp

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_of_4babf91"
KILLED_AT, STEPS = 12, 20


def test_it_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """With the dropout, order, optimizer, schedule and history that were saved."""
    shutil.copytree(FIXTURE, tmp_path, dirs_exist_ok=True)
    shutil.copytree(FIXTURE / "tokenizer", tmp_path / "run" / "tokenizer")
    folder = tmp_path / "run"
    setup = TinySetup(Path("data"), Path("tokenizer"), Path("config.json"))
    flags = ["--label_smoothing", "0.1", "--save_checkpoint_steps", "6", "--output_dir", "run", "--resume"]
    said = run("finetune.py", [*setup.training_flags, *flags], tmp_path / "log", folder=tmp_path)
    assert f"_step{KILLED_AT}.ckpt" in said and f"step {KILLED_AT + 1}/{STEPS}" in said
    assert f"step {KILLED_AT}/{STEPS} " not in said
    metrics, expected = read_json(folder / "metrics.json"), read_json(FIXTURE / "expected.json")
    # Another dropout or order moves a loss by 1e-3 of itself, another processor by 1e-6.
    assert [record["loss"] for record in metrics["train"]] == pytest.approx(expected["train_loss"], rel=1e-4)
    assert [record["loss"] for record in metrics["validation"]] == pytest.approx(expected["validation_loss"], rel=1e-4)
    old, new = (load_checkpoint(next(where.glob("*.ckpt"))) for where in (FIXTURE / "run", folder))
    assert old.keys() == new.keys()
    assert old["callbacks"].keys() == new["callbacks"].keys()
    assert all(state.keys() == new["callbacks"][key].keys() for key, state in old["callbacks"].items())
    assert old["hyper_parameters"]["optimizer"] == new["hyper_parameters"]["optimizer"]


def test_names_in_checkpoints_are_those_of_earlier_versions(tmp_path: Path) -> None:
    """Lightning finds the states by them, so they stay when a class is renamed or moved."""
    callbacks = [
        EarlyStopping("val_loss", 3, 0), RngState(), TrainingHistory(tmp_path / "metrics.json", 1, 1)
    ]  # fmt: skip
    saved = load_checkpoint(next((FIXTURE / "run").glob("*.ckpt")))["callbacks"]
    assert {callback.state_key for callback in callbacks} | {CheckpointSaver.state_key} == set(saved)
    assert NativeAmp.__qualname__ == "NativeAmp"  # Lightning takes the class's
    assert Lamb.NAME_IN_CHECKPOINTS == "utils.training.lamb.Lamb"
