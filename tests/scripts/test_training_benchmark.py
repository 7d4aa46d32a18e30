"""The training benchmark, whole, with a tiny model on the CPU; and the comparison with transformers, likewise."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from scripts.benchmark.compare_training import CompareArguments, compare
from scripts.benchmark.training_work import make_lengths
from tests.foreign_modules import write_foreign_modules
from tests.tiny_setup import write_tiny_setup
from utils.io.json_files import read_json, write_json

ROOT = Path(__file__).parents[2]
TINY = {"shape": "tiny", "vocab_size": 300, "threads": 1, "rounds": 1, "systems": "ours,transformers"}


def benchmark(arguments: list[str], results: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """From a folder whose modules have the names of this project's."""
    given = {"PYTHON": sys.executable, "RESULTS_DIR": str(results), "CUDA_VISIBLE_DEVICES": "", **variables}
    command = ["bash", str(ROOT / "scripts" / "run_training_benchmark.sh"), *arguments]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        write_foreign_modules(Path(folder))
        return subprocess.run(
            command, cwd=folder, env={**inherited, **given}, capture_output=True, text=True, timeout=240
        )


def test_throughput(tmp_path: Path) -> None:
    setup = write_tiny_setup(tmp_path)
    variables = {"CONFIG": str(setup.config), "TOKENIZER": str(setup.tokenizer)}
    process = benchmark(["4", "64", "16", str(setup.data), "--num_workers", "0"], tmp_path / "results", **variables)
    assert process.returncode == 0, process.stdout + process.stderr

    report = read_json(tmp_path / "results" / "training_benchmark.json")
    assert "fp32" in {row["precision"] for row in report["trainings"]}
    arguments = read_json(tmp_path / "results" / "training_0gpu_fp32" / "run.json")["arguments"]
    assert arguments["max_steps"] > 1e8  # the epoch ends it, however long it is
    for row in report["trainings"]:
        assert row["gpus"] == 0 and row["weak_scaling"] == 1 and row["train_batch_size"] == 4
        assert row["sequences"] == 61  # the whole epoch
        assert row["tokens_per_second"] > row["sequences_per_second"] > 0 and 0 < row["share_of_peak"] < 1
        assert 0 <= row["share_waiting_for_data"] < 1 and row["peak_memory_gb"] > 0.1
    assert "skipped: fp16, as there is no GPU" in report["skipped"]
    table = (tmp_path / "results" / "training_benchmark.log").read_text()
    assert "NUM_GPU" in table and "weak scaling" in table and "skipped: tf32" in table and table in process.stdout
    assert not list((tmp_path / "results").rglob("*.ckpt"))


def test_weak_scaling(tmp_path: Path) -> None:
    """Of the same precision on one GPU."""
    for gpus, precision, tokens in ((1, "fp16", 40_000), (8, "fp16", 240_000), (1, "fp32", 10_000)):
        run = tmp_path / f"training_{gpus}gpu_{precision}"
        run.mkdir()
        names = ("sequences_per_second", "share_of_peak", "share_waiting_for_data", "peak_memory_gb", "sequences")
        throughput = {"tokens_per_second": tokens, **dict.fromkeys(names, 0.5)}
        write_json(run / "metrics.json", {"throughput": throughput})
        limits = {"train_batch_size": 40, "max_source_length": 1024, "max_target_length": 60}
        write_json(run / "run.json", {"arguments": limits})
    command = [sys.executable, "-m", "scripts.benchmark.training_table", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    rows = read_json(tmp_path / "training_benchmark.json")["trainings"]
    found = [(row["gpus"], row["precision"], row["weak_scaling"]) for row in rows]
    assert found == [(1, "fp16", 1), (1, "fp32", 1), (8, "fp16", 6)]


def test_a_failure_is_shown(tmp_path: Path) -> None:
    process = benchmark(["2", "64", "16", "nowhere"], tmp_path / "results", MODEL="nowhere/model")
    assert process.returncode == 2
    assert "nowhere" in process.stderr and "training_0gpu" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "results" / "training_benchmark.json").exists()


def test_the_losses_are_those_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="transformers' Trainer needs accelerate (requirements/peers.txt)")
    compare(CompareArguments(**TINY, precisions="fp32,bf16", check_losses=True, json=str(tmp_path / "report.json")))
    results = read_json(tmp_path / "report.json")["results"]
    assert [(row["system"], row["precision"]) for row in results] == [
        (name, precision) for precision in ("fp32", "bf16") for name in ("ours", "transformers")
    ]
    for (ours, theirs), bound in zip((results[:2], results[2:]), (1e-5, 1e-3), strict=True):
        assert len(ours["losses"]) == 10 and len(set(ours["losses"])) == 10
        assert theirs["largest_difference"] < bound


@pytest.mark.slow
def test_natural_lengths_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This project at its best budget; alone, where there is no accelerate."""
    arguments = CompareArguments(
        **{**TINY, "systems": "ours"},
        mode="natural",
        documents=12,
        token_budgets="400,800",
        json=str(tmp_path / "report"),
    )
    compare(arguments)
    (ours,) = read_json(tmp_path / "report")["results"]
    assert ours["settings"]["max_tokens"] in (400, 800) and len(ours["others"]) == 1
    assert ours["tokens_per_second"] >= ours["others"][0]["tokens_per_second"] > 0 and ours["peak_gb"] > 0.1
    assert "length groups" in capsys.readouterr().out


def test_natural_lengths_are_as_uneven_as_xsums() -> None:
    sources, targets = make_lengths(CompareArguments(mode="natural", documents=500))
    assert 30 <= min(sources) < 45 and max(sources) == 256 and 105 < sum(sources) / 500 < 125
    assert min(targets) >= 8 and max(targets) <= 64 and 22 < sum(targets) / 500 < 32
