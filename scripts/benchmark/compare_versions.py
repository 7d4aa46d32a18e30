"""Compare two checkouts of this project: how long they take, and whether they compute the same.

The checkouts take turns, each measurement in a process of its own, so that a machine that slows down slows both; the
result is the ratio of the medians. Both run with this Python, on the CPU, each with its own models/bart_mini:

    import         bart.modeling.modeling_bart, in a new process
    --help         python finetune.py --help, from start to end
    training step  8 texts of 128 and 32 tokens, fp32; the median of 30 after 5
    search         16 texts, and one, of 128 tokens: 4 beams, 48 tokens each; the median of 5 after one

--check also trains both with finetune.py for 20 steps, lets both summarize with run_eval.py and the first checkout's
model, and compares weights and texts.

python -m scripts.benchmark.compare_versions /tmp/older_checkout . --rounds 7 --check
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError
from utils.cli.options import at_least, option
from utils.cli.run import run_command

_NEEDED = ("finetune.py", "run_eval.py", "bart/modeling/modeling_bart.py", "models/bart_mini/config.json")
_STEPS = 20
_EXAMPLES = {"train": 64, "val": 8, "test": 24}
_LONGEST_RUN = 600  # seconds of a program
# Given in full, so that a default that was changed since makes no difference.
_LENGTHS = ("--max_source_length", "128", "--max_target_length", "32")


@dataclass
class VersionsArguments:
    """The command line."""

    first: str = option("", "checkouts", "folder of the older version", positional=True)
    second: str = option("", "checkouts", "folder of the newer version", positional=True)
    rounds: int = option(7, "work", "how often each is measured; 0: not at all", check=at_least(0))
    verify: bool = option(False, "work", "compare weights after 20 steps, and generations", aliases=["check"])
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        for folder in (self.first, self.second):
            for name in _NEEDED:
                if not (Path(folder) / name).exists():
                    raise InputError(f"{folder}: is no checkout of this project, it has no {name}")


def compare(arguments: VersionsArguments) -> None:
    """Measure, compare, print."""
    from utils.runtime.hardware import describe_machine

    checkouts = [Path(folder).resolve() for folder in (arguments.first, arguments.second)]
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": [version(checkout) for checkout in checkouts],
        "arguments": asdict(arguments),
        "seconds": measure_in_turn(checkouts, arguments.rounds),
    }
    if arguments.verify:
        with tempfile.TemporaryDirectory() as folder:
            write_texts(Path(folder))
            report["same weights"] = same_weights(*(train(checkout, Path(folder)) for checkout in checkouts))
            texts = [generations(checkout, checkouts[0], Path(folder)) for checkout in checkouts]
            report["same generations"] = texts[0] == texts[1]
    print("\n".join(table(report)))
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(Path(arguments.json), report)
    if not (report.get("same weights", True) and report.get("same generations", True)):
        raise InputError("--check: the versions compute different things, see above")


def version(checkout: Path) -> str:
    """The commit, with a plus if files differ from it."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--exclude", "*", "--dirty=+"]
    run = subprocess.run(command, capture_output=True, text=True)
    return run.stdout.strip() or checkout.name


def measure_in_turn(checkouts: list[Path], rounds: int) -> dict[str, list[list[float]]]:
    """By what was measured: the seconds of the first checkout, and of the second. Who begins alternates."""
    seconds: dict[str, list[list[float]]] = {}
    for number in range(rounds):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            for name, value in measure(checkouts[index]).items():
                seconds.setdefault(name, [[], []])[index].append(value)
    return seconds


def measure(checkout: Path) -> dict[str, float]:
    """Measure everything once."""
    start = time.perf_counter()
    run(checkout, Path.cwd(), [str(checkout / "finetune.py"), "--help"])
    help_seconds = time.perf_counter() - start
    driver = Path(__file__).with_name("time_version.py")
    measured: dict[str, float] = json.loads(run(checkout, Path.cwd(), [str(driver), str(checkout)]).splitlines()[-1])
    return {"import": measured.pop("import"), "--help": help_seconds, **measured}


def run(checkout: Path, folder: Path, command: list[str]) -> str:
    """Run a Python program with the modules of a checkout, and return its output. Raises InputError if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, *command]
    try:
        process = subprocess.run(
            words, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LONGEST_RUN
        )
    except subprocess.TimeoutExpired:
        message = f"{checkout}: {Path(command[0]).name} has not ended after {_LONGEST_RUN} seconds"
        raise InputError(message) from None
    if process.returncode != 0:
        last = ((process.stdout + process.stderr).strip().splitlines() or ["no output"])[-1]
        raise InputError(f"{checkout}: {Path(command[0]).name} failed: {last}")
    return process.stdout


def write_texts(folder: Path) -> None:
    """Write pairs made of lines of the standard library: some make a source, the first of them its target."""
    lines = [line.strip() for line in Path(argparse.__file__).read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if len(line) > 20]
    start = 0
    for split, count in _EXAMPLES.items():
        groups = [lines[start + 3 * index : start + 3 * index + 1 + index % 6] for index in range(count)]
        start += 3 * count
        (folder / f"{split}.source").write_text("".join(f"{' '.join(group)}\n" for group in groups), encoding="utf-8")
        (folder / f"{split}.target").write_text("".join(f"{group[0]}\n" for group in groups), encoding="utf-8")


def train(checkout: Path, folder: Path) -> dict[str, Any]:
    """Train with finetune.py of a checkout, and return the weights."""
    import torch

    model, results = checkout / "models" / "bart_mini", Path(tempfile.mkdtemp(dir=folder)) / "run"
    flags = ["--data_dir", str(folder), "--output_dir", str(results), "--gpus", "0", "--seed", "42", "--n_test", "0"]
    flags += ["--model_name_or_path", str(model), "--config_path", str(model / "config.json"), "--no-freeze_embeds"]
    flags += ["--train_batch_size", "8", "--max_steps", str(_STEPS), "--warmup_steps", "2", "--learning_rate", "1e-4"]
    flags += ["--dropout", "0.1", "--lr_scheduler", "polynomial", "--label_smoothing", "0.1", "--weight_decay", "0.1"]
    run(checkout, folder, [str(checkout / "finetune.py"), *flags, *_LENGTHS])
    newest = max(results.glob("*.ckpt"), key=lambda path: int(path.stem.rpartition("step")[2]))
    checkpoint = torch.load(newest, map_location="cpu", weights_only=True)
    if checkpoint["global_step"] != _STEPS:
        raise InputError(f"{checkout}: the newest checkpoint is of step {checkpoint['global_step']}, not {_STEPS}")
    return dict(checkpoint["state_dict"])


def same_weights(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Return whether all tensors have the same names, types, shapes and bits."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].numpy().tobytes() == second[name].numpy().tobytes()
        for name in first
    )


def generations(checkout: Path, with_model: Path, folder: Path) -> bytes:
    """Return what run_eval.py of a checkout writes with the model of ``with_model``."""
    model, results = with_model / "models" / "bart_mini", Path(tempfile.mkdtemp(dir=folder)) / "texts"
    flags = [str(model), str(model / "config.json"), str(folder), str(results), "--type_path", "test", "--bs", "8"]
    flags += ["--device", "cpu", "--eval_beams", "4", "--eval_max_gen_length", "48", "--no_repeat_ngram_size", "3"]
    run(checkout, folder, [str(checkout / "run_eval.py"), *flags, *_LENGTHS])
    return (results / "test_generations.txt").read_bytes()


def table(report: dict[str, Any]) -> Iterator[str]:
    """Yield the machine, the versions, and a line for each measurement."""
    yield report["machine"]
    first, second = report["versions"]
    yield f"{'seconds, median of ' + str(report['arguments']['rounds']):28}{first:>14}{second:>14}{'ratio':>9}"
    for name, (before, after) in report["seconds"].items():
        medians = statistics.median(before), statistics.median(after)
        yield f"{name:28}{medians[0]:14.4f}{medians[1]:14.4f}{medians[1] / medians[0]:9.3f}"
    if "same weights" in report:
        yield f"weights after {_STEPS} steps are {'bit-identical' if report['same weights'] else 'DIFFERENT'}"
        verdict = "byte-identical" if report["same generations"] else "DIFFERENT"
        yield f"generations of {_EXAMPLES['test']} texts are {verdict}"


if __name__ == "__main__":
    sys.exit(run_command(VersionsArguments, (__doc__ or "").partition("\n")[0], compare))
