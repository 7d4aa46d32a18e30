"""The inference benchmark, whole, with a tiny model on the CPU."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.foreign_modules import write_foreign_modules
from tests.tiny_setup import write_tiny_setup
from utils.checkpoint.export import save_model
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


def benchmark(arguments: list[str], results: Path) -> subprocess.CompletedProcess[str]:
    """From a folder whose modules have the names of this project's."""
    environment = {**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(results), "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONPATH", None)
    command = ["bash", str(ROOT / "scripts" / "run_inference_benchmark.sh"), *arguments]
    with tempfile.TemporaryDirectory() as folder:
        write_foreign_modules(Path(folder))
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)


def test_throughput_and_latency(tmp_path: Path) -> None:
    """Powers of two up to the batch size, which is one itself though it is none."""
    setup = write_tiny_setup(tmp_path)
    torch.manual_seed(0)
    model = BartForConditionalGeneration(BartConfig.from_json_file(setup.config))
    save_model(model, BartTokenizer.from_pretrained(setup.tokenizer), tmp_path / "model")
    positionals = ["3", "2", "64", "16", str(tmp_path / "model"), str(setup.data), str(setup.config)]
    process = benchmark([*positionals, "--n_obs", "6"], tmp_path / "results")
    assert process.returncode == 0, process.stdout + process.stderr

    report = read_json(tmp_path / "results" / "inference_benchmark.json")
    assert [row["batch_size"] for row in report["latency"]] == [1, 2, 3]
    assert "fp32" in {row["precision"] for row in report["throughput"]}
    assert all(row["gpus"] == 0 and row["n_obs"] == 6 for row in report["throughput"])
    assert all(row["sequences_per_second"] > 0 for row in [*report["throughput"], *report["latency"]])
    for row in report["latency"]:
        assert 0 < row["seconds"]["p50"] <= row["seconds"]["p90"] <= row["seconds"]["p95"] <= row["seconds"]["p99"]
    assert "skipped: fp16, as there is no GPU" in report["skipped"]
    table = (tmp_path / "results" / "inference_benchmark.log").read_text()
    assert "NUM_GPU" in table and "average" in table and "skipped: tf32" in table
    assert table in process.stdout


def test_a_failure_is_shown(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "config.json")
    process = benchmark(["2", "2", "64", "16", "nowhere/model", "nowhere", config], tmp_path / "results")
    assert process.returncode == 2
    assert "nowhere" in process.stderr and "throughput_0gpu" in process.stderr.splitlines()[-1]
    assert not (tmp_path / "results" / "inference_benchmark.json").exists()


@pytest.mark.parametrize("flag", ["--max_tokens_per_batch 9", "--max_tokens_per_batch=9"])
def test_batches_by_tokens_are_no_batch_size(tmp_path: Path, flag: str) -> None:
    process = benchmark(["2", *flag.split()], tmp_path / "results")
    assert process.returncode == 2 and process.stderr.count("\n") == 1
    assert process.stderr.startswith("error: --max_tokens_per_batch: ")


def test_a_results_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = benchmark(["2"], tmp_path / "file" / "results")
    assert process.returncode == 2 and process.stderr.count("\n") == 1 and "RESULTS_DIR" in process.stderr
