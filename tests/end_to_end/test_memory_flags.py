"""Flags that change what a training takes, not what it learns: through the real command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import ROOT, Command, refusal
from tests.tiny_setup import TinySetup
from utils.io.json_files import read_json


def train(setup: TinySetup, folder: Path, *flags: str) -> str:
    arguments = [*setup.training_flags, "--output_dir", str(folder), "--max_steps", "6", *flags]
    command = Command("finetune.py", arguments, folder.with_suffix(".log"))
    assert command.wait() == 0, command.output
    return command.output


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in read_json(folder / "metrics.json")["train"]]


def test_batches_by_memory_and_layers_computed_again(setup: TinySetup, tmp_path: Path) -> None:
    """As many examples in a step as the flags say: 4 times 2. Resumed, the choice stays."""
    train(setup, tmp_path / "plain", "--dropout", "0")
    output = train(
        setup, tmp_path / "large", "--dropout", "0", "--auto_batch_size", "--gradient_checkpointing",
        "--save_checkpoint_steps", "3",
    )  # fmt: skip
    assert "batches of 8 by formula" in output
    stored = read_json(tmp_path / "large" / "run.json")["arguments"]
    assert (stored["train_batch_size"], stored["gradient_accumulation_steps"]) == (8, 1)
    assert losses(tmp_path / "large") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
    (tmp_path / "large" / "_epoch0_step6.ckpt").unlink()
    again = train(
        setup, tmp_path / "large", "--dropout", "0", "--auto_batch_size", "--gradient_checkpointing",
        "--save_checkpoint_steps", "3", "--resume",
    )  # fmt: skip
    assert "resuming from" in again and "batches of" not in again
    assert losses(tmp_path / "large") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (
            ("--auto_batch_size", "--max_tokens_per_batch", "100"),
            "--auto_batch_size and --max_tokens_per_batch exclude each other",
        ),
        (("--compile", "--strategy", "fsdp"), "--compile: cannot compile layers that are sharded"),
    ],
)
def test_refused(setup: TinySetup, tmp_path: Path, flags: tuple[str, ...], text: str) -> None:
    assert text in refusal("finetune.py", [*setup.training_flags, *flags], tmp_path / "log")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "no-such-compiler"])
def test_compile(setup: TinySetup, tmp_path: Path, compiler: str) -> None:
    """With a compiler the same losses; without one a line, and the same losses. Torch reads CXX when it is imported."""
    flags = [*setup.training_flags, "--max_steps", "6", "--dropout", "0", "--attention_dropout", "0"]
    environment = {**os.environ, "CXX": compiler, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "finetune.py", *flags, "--compile", "--output_dir", str(tmp_path / "compiled")]
    process = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ("--compile: ignored, because a trial failed" in process.stdout) == (compiler != "g++"), process.stdout
    train(setup, tmp_path / "plain", "--dropout", "0", "--attention_dropout", "0")
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
