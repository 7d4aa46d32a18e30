"""Rows that run whole programs: the main job, a few steps of finetune.py, and tests/gpu."""

import os
import shutil
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scripts.benchmark.gpu.session import Session, Settings, Unfit
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[3]
_MODEL = "models/bart_mini"
_CORPUS = ROOT / "data" / "docstrings"
_MODULES = ("argparse", "inspect", "subprocess", "tarfile", "typing", "zipfile")  # of the standard library
_FIRST_STEP = 20  # steps before are warming up
_PAIRS = {"cuda": {"train": 4000, "val": 64, "test": 512}, "cpu": {"train": 64, "val": 8, "test": 8}}


def run_program(session: Session, name: str, command: list[str], **environment: str) -> None:
    """Run a program with its output in NAME.log. Raises RuntimeError with its last line if it fails."""
    log = session.results / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHON": sys.executable, **environment},
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    if process.returncode != 0:
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        last = said[-1] if said else "it printed nothing"
        raise RuntimeError(f"exit code {process.returncode}, its last line: {last}")


def write_pairs(folder: Path, device: str) -> Path:
    """Write pairs made of lines of the standard library: some make a source, the first of them its target."""
    lines = [line.strip() for module in _MODULES for line in _source_of(module).splitlines()]
    lines = [line for line in lines if len(line) > 20]
    folder.mkdir()
    start = 0
    for split, count in _PAIRS[device].items():
        groups = [[lines[(start + 3 * i + j) % len(lines)] for j in range(1 + i % 12)] for i in range(count)]
        start += 3 * count
        (folder / f"{split}.source").write_text("".join(f"{' '.join(group)}\n" for group in groups), encoding="utf-8")
        (folder / f"{split}.target").write_text("".join(f"{group[0]}\n" for group in groups), encoding="utf-8")
    return folder


def _source_of(module: str) -> str:
    found = find_spec(module)
    assert found is not None and found.origin is not None
    return Path(found.origin).read_text(encoding="utf-8")


def data_of(session: Session) -> Path:
    """Return data/docstrings if it is there and this is a GPU, else pairs that are made up."""
    if session.device == "cuda" and (_CORPUS / "train.source").exists():
        return _CORPUS
    folder = session.models / "pairs"
    return folder if folder.exists() else write_pairs(folder, session.device)


def job(session: Session, settings: Settings) -> None:
    """Tell the tokens per second from the twentieth step on, and the sequences per second of the test search.

    The job is run_summarization.sh with bart_mini; its results stay, without weights.
    """
    on_gpu, steps = session.device == "cuda", settings["steps"]
    precision = settings["precision"]
    if not on_gpu and precision != "fp16":
        raise Unfit("on a CPU every job is one in float32")
    arguments = [str(data_of(session)), "configs/config_mini.json", "1" if on_gpu else "0", "5e-4"]
    arguments += ["32" if on_gpu else "4", "1", precision if on_gpu else "fp32", str(steps), str(max(1, steps // 10))]
    arguments += ["128", "32", "4" if on_gpu else "2", "64", "64", "0.5" if on_gpu else "1", "2"]
    arguments += ["--model_name_or_path", _MODEL, "--no-freeze_embeds", "--log_every_n_steps", "5" if on_gpu else "1"]
    session.tell({"command": f"bash scripts/run_summarization.sh {' '.join(arguments)}"})
    results = session.results / f"job_{precision}"
    shutil.rmtree(results, ignore_errors=True)  # of an earlier run of this part
    try:
        run_program(
            session, f"job_{precision}", ["bash", "scripts/run_summarization.sh", *arguments], RESULTS_DIR=str(results)
        )
    finally:
        if (results / "metrics.json").exists():
            session.tell(training_figures(read_json(results / "metrics.json"), steps))
        for weights in [*results.rglob("*.ckpt"), *results.rglob("*.safetensors")]:
            weights.unlink()
    report = read_json(results / "test_rouge.json")
    session.tell({"test_sequences_per_second": report["sequences_per_second"], "rouge1": report["rouge1"]})


def training_figures(metrics: dict[str, Any], steps: int) -> dict[str, Any]:
    """Return the speed of a run: of each record, and the median from the twentieth step on, or the second half."""
    first = min(_FIRST_STEP, steps // 2)
    speeds = {record["step"]: record["tokens_per_second"] for record in metrics["speed"]}
    late = [speed for step, speed in speeds.items() if step > first] or list(speeds.values())
    return {
        "tokens_per_second": {"median": statistics.median(late), "from_step": first},
        "tokens_per_second_by_step": {str(step): speed for step, speed in speeds.items()},
        "peak_gb": max(record["peak_memory_gb"] for record in metrics["speed"]),
        "last_loss": metrics["train"][-1]["loss"],
    }


def finetune(session: Session, settings: Settings) -> None:
    """Run finetune.py for a few steps, with a validation that searches, and tell its last loss."""
    results, on_gpu = session.results / "finetune", session.device == "cuda"
    flags = ["--data_dir", str(data_of(session)), "--config_path", f"{_MODEL}/config.json", "--gpus", str(int(on_gpu))]
    flags += ["--model_name_or_path", _MODEL, "--no-freeze_embeds", "--train_batch_size", "4", "--warmup_steps", "1"]
    flags += ["--max_steps", str(settings["steps"]), "--max_source_length", "64", "--max_target_length", "16"]
    flags += ["--overwrite_output_dir", "--output_dir", str(results), "--n_val", "8", "--n_test", "0"]
    flags += ["--eval_beams", "2"]
    flags += [f"--{settings['precision']}"] if on_gpu else []
    session.tell({"command": f"python finetune.py {' '.join(flags)}"})
    run_program(session, "finetune", [sys.executable, "finetune.py", *flags])
    session.tell(training_figures(read_json(results / "metrics.json"), settings["steps"]))


def tests(session: Session, settings: Settings) -> None:
    """Run tests/gpu, and tell how many passed, failed and were skipped, and the seconds of each."""
    folder = session.results / f"tests_{settings['keyword'].split()[0]}"
    flags = ["--output_dir", str(folder), "--device", session.device, "--keyword", settings["keyword"]]
    flags += ["--test_limit", "90", "--time_limit", "170"]
    session.tell({"command": f"bash scripts/benchmark/gpu_acceptance.sh {' '.join(flags[2:])}"})
    try:
        run_program(session, folder.name, [sys.executable, "-P", "-m", "scripts.benchmark.gpu_acceptance", *flags])
    finally:
        if (folder / "gpu_acceptance.json").exists():
            report = read_json(folder / "gpu_acceptance.json")
            failed = [test["test"] for test in report["tests"] if test["outcome"] in ("failed", "not run")]
            session.tell({"counts": report["counts"], "failed": failed, "problems": report["problems"]})
