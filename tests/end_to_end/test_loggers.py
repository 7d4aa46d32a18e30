"""Where the numbers of a training go."""

import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

from tests.commands import refusal, run
from tests.tiny_setup import TinySetup
from utils.io.json_files import read_json
from utils.training.callbacks.metrics_history import TrainingHistory

SHORT = ["--max_steps", "3", "--warmup_steps", "1"]


def test_those_that_are_named_and_no_others(setup: TinySetup, tmp_path: Path) -> None:
    for name, expected in (("none", []), ("csv", ["metrics.csv"])):
        folder = tmp_path / name
        flags = [*setup.training_flags, *SHORT, "--logger", name, "--output_dir", str(folder)]
        run("finetune.py", flags, tmp_path / "log")
        files = [path for path in folder.glob("logs/**/*") if path.is_file() and path.name != "hparams.yaml"]
        assert [path.name for path in files] == expected
    rows = list(csv.DictReader(files[0].open()))
    records = read_json(folder / "metrics.json")["train"]
    assert [float(row["loss"]) for row in rows if row["loss"]] == [record["loss"] for record in records]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_is_told_in_a_line(setup: TinySetup, tmp_path: Path, name: str) -> None:
    """Where it is installed, it gets the numbers."""
    flags = [*setup.training_flags, *SHORT, "--logger", f"csv,{name}", "--output_dir", str(tmp_path / "out")]
    try:
        __import__(name)
    except ImportError:
        line = refusal("finetune.py", flags, tmp_path / "log")
        assert f"--logger {name}: the package {name} cannot be imported" in line
        assert not (tmp_path / "out").exists()
    else:
        run("finetune.py", flags, tmp_path / "log")
        assert (tmp_path / "out" / "logs" / {"wandb": "wandb", "mlflow": "mlflow.db"}[name]).exists()


@pytest.mark.parametrize("value", ["tensorbord", "csv,csv", "csv,none", ""])
def test_an_unknown_one_is_refused(setup: TinySetup, tmp_path: Path, value: str) -> None:
    line = refusal("finetune.py", [*setup.training_flags, "--logger", value], tmp_path / "log")
    assert f"--logger {value}: give none, or one or more of csv, tensorboard, wandb, mlflow" in line


def test_a_number_that_is_not_there_is_left_out(tmp_path: Path) -> None:
    """As the gradient's length is while fp16 looks for its loss scale: TensorBoard refuses None."""
    loggers = [TensorBoardLogger(tmp_path, version="a"), CSVLogger(tmp_path, version="b")]
    history = TrainingHistory(tmp_path / "metrics.json", every_n_steps=1, steps_per_epoch=1)
    history._log(SimpleNamespace(loggers=loggers, global_step=3), {"loss": 1.5, "gradient_norm": None})
    (row,) = csv.DictReader(next(tmp_path.rglob("metrics.csv")).open())
    assert row == {"step": "3", "loss": "1.5"}
