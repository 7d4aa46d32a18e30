"""What --dry_run says before anything is spent."""

import re
import shutil
from pathlib import Path

import pytest

from tests.commands import refusal, run, run_as_torchrun
from tests.mounts import fill, small_disk
from tests.tiny_setup import TinySetup


def test_it_says_what_the_training_takes(setup: TinySetup, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    flags = [*setup.training_flags, "--output_dir", str(folder), "--dry_run"]
    output = run("finetune.py", flags, tmp_path / "log")
    assert re.search(r"^steps +20 of about 8 examples: 2\.50 epochs of 61 examples$", output, re.M), output
    assert re.search(r"^time +\S+( s)? until the last step \(.* s a step: .*; 5 validations of ", output, re.M), output
    assert re.search(r"^memory +[\d.]+ GB for each process", output, re.M), output
    assert re.search(r"^disk +[\de.-]+ GB at most: 4 checkpoints of .* GB are free$", output, re.M), output
    assert "train data: source" in output and "cut (" in output
    assert not folder.exists()


def test_a_folder_in_use_stays_as_it_is(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")}
    flags = [*setup.training_flags, "--output_dir", str(whole_run), "--eval_beams", "2", "--dry_run"]
    assert "This was a dry run" in run("finetune.py", flags, tmp_path / "log")
    assert {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")} == before


def test_checkpoints_have_the_size_that_was_said(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    flags = [*setup.training_flags, "--output_dir", str(tmp_path / "results"), "--dry_run"]
    output = run("finetune.py", flags, tmp_path / "log")
    said = float(re.search(r"checkpoints of ([\de.-]+) GB", output)[1])
    size = next(whole_run.glob("*.ckpt")).stat().st_size / 1e9
    assert 0.5 * size < said < size  # the rest of so small a checkpoint is its history and its settings


def test_checkpoints_that_are_replaced_count_as_free(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    flags = [*setup.training_flags, "--dry_run", "--output_dir"]
    with small_disk(tmp_path / "disk", "8m") as disk:
        (disk / "run").mkdir()
        sizes = [Path(shutil.copy(path, disk / "run")).stat().st_size for path in whole_run.glob("*.ckpt")]
        fill(disk, 2 * max(sizes))
        warning = f"warning: the disk of --output_dir {disk}/"
        assert f"{warning}new is too small" in run("finetune.py", [*flags, str(disk / "new")], tmp_path / "log")
        assert warning not in run("finetune.py", [*flags, str(disk / "run")], tmp_path / "log")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_of_two_processes(setup: TinySetup, tmp_path: Path, strategy: str) -> None:
    """They share a step; the first one alone speaks."""
    flags = [*setup.training_flags, "--gradient_accumulation_steps", "1", "--output_dir", str(tmp_path / "out")]
    flags += ["--strategy", strategy, "--dry_run"]
    output = run_as_torchrun("finetune.py", flags, tmp_path / "log", processes=2)
    assert "20 of about 8 examples: 2.50 epochs" in output
    size = float(re.search(r"checkpoints of ([\de.-]+) GB", output)[1])
    assert 0.3e-3 < size < 0.6e-3  # whole, however the model is divided
    assert "dry run" not in (tmp_path / "log1").read_text()


def test_what_cannot_be_trained_is_refused(setup: TinySetup, tmp_path: Path) -> None:
    flags = [*setup.training_flags, "--output_dir", str(tmp_path / "out"), "--dry_run", "--warmup_steps", "20"]
    assert "--warmup_steps 20" in refusal("finetune.py", flags, tmp_path / "log")
