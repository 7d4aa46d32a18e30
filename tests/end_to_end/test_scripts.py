"""Training and evaluation through the shell scripts, nothing replaced."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints
from utils.evaluation.rouge import ROUGE_TYPES
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


def script(name: str, arguments: list[str], results: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(results)}
    command = ["bash", str(ROOT / "scripts" / name), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def training_arguments(setup: TinySetup, data: Path) -> list[str]:
    """The 16 positional arguments, then flags, as a preset prints them."""
    positionals = [data, setup.config, 0, 1e-2, 4, 1, "FP32", 102, 2, 64, 16, 2, 8, 3, 1, 9]
    flags = ["--model_name_or_path", "scratch", "--tokenizer_name_or_path", str(setup.tokenizer), "--no-freeze_embeds"]
    return [*map(str, positionals), *flags, "--save_checkpoint_steps", "96"]


def test_a_checkpoint_scores_what_its_training_scored(setup: TinySetup, tmp_path: Path) -> None:
    data, results = tmp_path / "data", tmp_path / "results"
    shutil.copytree(setup.data, data)
    for split in ("train", "val", "test"):  # words that all begin with, so that a model this small scores above nothing
        targets = (data / f"{split}.target").read_text().splitlines()
        (data / f"{split}.target").write_text("".join(f"The parser says: {target}\n" for target in targets))
    process = script("run_summarization.sh", training_arguments(setup, data), results)
    assert process.returncode == 0, process.stdout + process.stderr
    trained = read_json(results / "test_rouge.json")
    assert trained["beams"] == 2 and trained["batch_size"] == 3 and trained["search"]["max_length"] == 16
    assert any(trained[name] > 0 for name in ROUGE_TYPES)
    log = (results / "joblog.log").read_text()
    assert "validation (teacher-forced" in log and "rouge1" in log
    assert checkpoint_step(checkpoints(results)[-1]) == 102  # newer than _epoch5_step96, though not by its letters

    best = min(read_json(results / "metrics.json")["validation"], key=lambda validation: validation["loss"])
    checkpoint = next(path for path in checkpoints(results) if checkpoint_step(path) == best["step"])
    evaluation = [str(checkpoint), "3", "0", "fp32", "2", "64", "16", str(data), str(setup.config)]
    process = script("run_eval_summarization.sh", evaluation, tmp_path / "again")
    assert process.returncode == 0, process.stdout + process.stderr
    again = read_json(tmp_path / "again" / "test_rouge.json")
    assert {name: again[name] for name in ROUGE_TYPES} == {name: trained[name] for name in ROUGE_TYPES}
    written = [(folder / "test_generations.txt").read_bytes() for folder in (results, tmp_path / "again")]
    assert written[0] == written[1]


def test_a_training_that_fails_starts_no_evaluation(setup: TinySetup, tmp_path: Path) -> None:
    results = tmp_path / "results"
    process = script("run_summarization.sh", training_arguments(setup, tmp_path / "nowhere"), results)
    assert process.returncode == 2
    assert "error: " in process.stdout and "nowhere" in process.stdout
    assert not results.exists()  # nothing but what was said would be in it


def test_a_faulty_test_split_is_found_before_training(setup: TinySetup, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(setup.data, data)
    with (data / "test.target").open("a") as file:
        file.write("one more line\n")
    process = script("run_summarization.sh", training_arguments(setup, data), tmp_path / "results")
    assert process.returncode == 2
    assert "test.source has 7 lines" in process.stdout and "step " not in process.stdout
