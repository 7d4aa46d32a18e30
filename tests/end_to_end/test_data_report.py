"""What finetune.py says about the data, through the real command."""

import shutil
from pathlib import Path

import pytest

from tests.commands import run
from tests.tiny_setup import TinySetup
from utils.data.line_files import read_lines
from utils.io.json_files import read_json


@pytest.fixture
def doubtful(setup: TinySetup, tmp_path: Path) -> TinySetup:
    """Six of the 61 training sources are there twice, one with its target; the test has two of them, val one."""
    shutil.copytree(setup.data, tmp_path / "data", ignore=shutil.ignore_patterns(".prepared"))
    changes = {
        "train.source": {row: row + 10 for row in range(6)},
        "train.target": {0: 10},
        "test.source": {0: 30, 3: 31},
        "test.target": {0: 30, 1: 40, 2: 41},
        "val.source": {12: 60},
    }
    for name, rows in changes.items():
        lines = read_lines(tmp_path / "data" / name)
        train = read_lines(setup.data / f"train.{name.split('.')[1]}")
        for row, origin in rows.items():
            lines[row] = train[origin]
        (tmp_path / "data" / name).write_text("".join(f"{line}\n" for line in lines))
    return TinySetup(tmp_path / "data", setup.tokenizer, setup.config)


def test_it_needs_no_weights_and_no_empty_folder(
    doubtful: TinySetup, setup: TinySetup, whole_run: Path, tmp_path: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(whole_run / "best_tfmr", model, ignore=shutil.ignore_patterns("*.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")}
    flags = ["--data_dir", str(doubtful.data), "--model_name_or_path", str(model), "--output_dir", str(whole_run)]
    output = run("finetune.py", [*setup.training_flags, *flags, "--gpus", "8", "--data_report"], tmp_path / "log")
    assert {path: path.stat().st_mtime_ns for path in whole_run.rglob("*")} == before
    lines = output.splitlines()
    assert "train: 61 pairs; 0 more lack a source or target" in lines
    assert "  repeat an earlier one: 6 sources, 1 pairs of source and target" in lines
    whole = ", ".join(f"100.0% at {length} tokens" for length in ("1,024", "2,048", "4,096", "8,192", "16,384"))
    assert lines.count(f"  sources kept whole: {whole}") == 3
    assert "test in train: 2 sources and 3 targets of 7" in lines
    assert "warning: train: 6 of 61 sources repeat one before them" in lines
    assert "warning: test: 2 of 7 sources are in train as well; its scores will be too good" in lines
    assert "warning: val: 1 of 13 sources are in train as well; its scores will be too good" in lines
    assert sum(line.startswith("warning: train: --max_target_length 16 cuts ") for line in lines) == 1
    assert not any("swapped" in line for line in lines)


def test_the_first_batch_is_what_the_model_sees(setup: TinySetup, tmp_path: Path) -> None:
    """Sources and targets of different length in one batch: padding is shown and counted."""
    data = tmp_path / "data"
    shutil.copytree(setup.data, data)
    (data / "train.source").write_text("a word\n" + "a short argument of the parser\n")
    (data / "train.target").write_text("short\n" + "x" * 30 + "\n")
    flags = [*setup.training_flags, "--data_dir", str(data), "--no-sortish_sampler"]
    results = tmp_path / "results"
    run("finetune.py", [*flags, "--output_dir", str(results), "--max_steps", "6"], tmp_path / "log")
    report = read_json(results / "data_report.json")
    batch = report["first_batch"]
    rows, length = batch["source_shape"]
    tokens = report["splits"]["train"]["source"]["tokens"]
    assert rows == 1 and length % 8 == 0  # accumulation 2 leaves one example for each batch
    example = batch["examples"][0]
    real = tokens["longest"] if "parser" in example["source"] else 2 * tokens["mean"] - tokens["longest"]
    assert batch["source_padding"] == pytest.approx(1 - real / length)
    assert example["source"].startswith("<s> a ") and example["target"].startswith("<s> ")
    assert f"</s>{round(length - real)} x <pad>" in example["source"]


def test_a_training_keeps_it(setup: TinySetup, whole_run: Path) -> None:
    report = read_json(whole_run / "data_report.json")
    train = report["splits"]["train"]
    assert {split: facts["pairs"] for split, facts in report["splits"].items()} == {"train": 61, "val": 13, "test": 7}
    assert train["source"]["tokens"]["longest"] == 64 and train["source"]["limit"] == {"max_source_length": 64}
    assert 0 < train["target"]["share_of_bytes_cut"] < train["target"]["share_of_texts_cut"] < 1
    log = read_lines(whole_run / "log")
    assert report["warnings"] and all(f"warning: {text}" in log for text in report["warnings"])


def test_swapped_files_and_a_test_without_targets(setup: TinySetup, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for side, other in (("source", "target"), ("target", "source")):
        for split in ("train", "val", "test"):
            shutil.copy(setup.data / f"{split}.{side}", data / f"{split}.{other}")
    (data / "test.target").write_text("\n" * 7)
    flags = [*setup.training_flags, "--data_dir", str(data), "--output_dir", str(tmp_path / "none"), "--data_report"]
    lines = run("finetune.py", flags, tmp_path / "log").splitlines()
    assert "warning: train: the targets are longer than the sources; are the files swapped?" in lines
    assert not any(line.startswith("test") for line in lines) and not (tmp_path / "none").exists()
