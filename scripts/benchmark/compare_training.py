"""Compare the speed of fine-tuning with transformers' model in its Trainer, on the same weights and texts.

Each system runs in a process of its own, so that its memory can be measured. They take turns, so that a machine that
slows down slows both. Dropout, also of attention weights, label smoothing, clipping and AdamW are those of the recipe.

With --mode padded, every source has exactly --source_length tokens and every target --target_length; a turn is one
step. With --mode natural, lengths are log-normal, with means in the proportion of XSum's; a turn is a share of an
epoch. Then transformers runs with its default order and with batches grouped by length, each at the best of
--batch_sizes, and this project at the best of --token_budgets.

Example: python -m scripts.benchmark.compare_training --precisions fp32,bf16 --json compare_training.json
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bart.errors import InputError
from scripts.benchmark.training_work import (
    CHECK_STEPS,
    CompareArguments,
    make_work,
    operations_of,
    write_model,
)
from utils.cli.run import run_command
from utils.runtime.hardware import describe_machine

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

ROOT = Path(__file__).parents[2]


class Worker:
    """A system in a process of its own."""

    def __init__(self, name: str, work_path: Path) -> None:
        self._command = [sys.executable, "-m", "scripts.benchmark.training_systems", name, str(work_path)]
        self.name = name
        self._log = (work_path.parent / f"{name}.log").open("w+")
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def restart(self) -> None:
        """Go on in a new process, so that the memory measured is that of one training."""
        self._end()
        self._start()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer. Raises InputError with the last output if the process ends instead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = [line for line in self._log.read().splitlines() if line.strip()]
            raise InputError(f"--systems {self.name}: its process ended: {said[-1] if said else 'it printed nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def compare(arguments: CompareArguments) -> None:
    """Measure each system in each precision, and print a table."""
    report: dict[str, Any] = {"arguments": asdict(arguments), "machine": describe_machine(), "results": []}
    measure = {"padded": measure_padded, "natural": measure_natural}[arguments.mode]
    if arguments.check_losses:
        measure = check_losses
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), arguments)
        with workers(Path(folder), arguments) as systems:
            for number, precision in enumerate(arguments.precisions.split(",")):
                if number > 0 and not arguments.check_losses:  # losses are the same in a process that has trained
                    for system in systems:
                        system.restart()
                results = measure(arguments, systems, precision)
                print("\n".join(lines(results)), flush=True)
                report["results"] += results
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, report)


@contextmanager
def workers(folder: Path, arguments: CompareArguments) -> Iterator[list[Worker]]:
    """Start the systems."""
    path = folder / "work.json"
    path.write_text(json.dumps(make_work(folder, arguments)), encoding="utf-8")
    started = [Worker(name, path) for name in arguments.systems.split(",")]
    try:
        yield started
    finally:
        for worker in started:
            worker.close()


def measure_padded(arguments: CompareArguments, systems: Sequence[Worker], precision: str) -> list[dict[str, Any]]:
    """Measure the median step of each system; the systems take turns, step by step."""
    settings = {"batch_size": arguments.batch_size, "precision": precision, "sampling": "random"}
    answers: dict[str, list[dict[str, Any]]] = {system.name: [] for system in systems}
    for system in systems:
        system.ask({"start": settings})
        system.ask({"steps": 2})
    for _ in range(arguments.rounds):
        for system in systems:
            answers[system.name].append(system.ask({"steps": 1}))
    share = operations_of(arguments, arguments.batch_size) / systems[0].ask({"peak": precision})["peak"]
    return [_result(name, precision, settings, answers[name], share) for name in answers]


def measure_natural(arguments: CompareArguments, systems: Sequence[Worker], precision: str) -> list[dict[str, Any]]:
    """Measure a share of an epoch ``rounds`` times per setting; return the best setting of each system and order."""
    from scripts.benchmark.training_systems import training_order

    work = make_work(Path(), arguments)
    plans: list[tuple[Worker, dict[str, Any], int]] = []
    for system in systems:
        if system.name == "ours":
            for budget in map(int, arguments.token_budgets.split(",")):
                settings = {"max_tokens": budget, "precision": precision, "sampling": "length groups"}
                plans.append((system, settings, training_order(work, settings).steps_per_epoch))
            continue
        for sampling in ("random", "group_by_length"):
            for size in map(int, arguments.batch_sizes.split(",")):
                settings = {"batch_size": size, "precision": precision, "sampling": sampling}
                plans.append((system, settings, -(-arguments.documents // size)))
    answers: list[list[dict[str, Any]]] = [[] for _ in plans]
    for _ in range(arguments.rounds):
        for (system, settings, steps), found in zip(plans, answers, strict=True):
            if arguments.device == "cpu":  # where the peak memory is that of a process
                system.restart()
            system.ask({"start": settings})
            system.ask({"steps": 2})
            found.append(system.ask({"steps": max(1, round(arguments.turn * steps))}))
    share = arguments.turn * operations_of(arguments, arguments.documents) / systems[0].ask({"peak": precision})["peak"]
    results = [
        _result(system.name, precision, settings, found, share)
        for (system, settings, _), found in zip(plans, answers, strict=True)
    ]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        key = result["system"], result["settings"]["sampling"]
        if key not in best or result["tokens_per_second"] > best[key]["tokens_per_second"]:
            best[key] = {**result, "others": [other for other in results if other["settings"] != result["settings"]]}
    return list(best.values())


def check_losses(arguments: CompareArguments, systems: Sequence[Worker], precision: str) -> list[dict[str, Any]]:
    """Return both systems' losses on the same batches in the same order, and their largest relative difference."""
    settings = {
        "batch_size": arguments.batch_size,
        "precision": precision,
        "sampling": "ours",
        "planned_steps": 2 * CHECK_STEPS,
    }
    losses = []
    for system in systems:
        system.ask({"start": settings})
        losses.append(system.ask({"steps": CHECK_STEPS})["losses"])
    return [
        {
            "system": system.name,
            "precision": precision,
            "losses": found,
            "largest_difference": max(abs(loss / first - 1) for loss, first in zip(found, losses[0], strict=True)),
        }
        for system, found in zip(systems, losses, strict=True)
    ]


def _result(
    name: str, precision: str, settings: dict[str, Any], answers: Sequence[dict[str, Any]], seconds_at_peak: float
) -> dict[str, Any]:
    """Summarize the turns of a system; ``seconds_at_peak`` is the time of a turn at the measured peak."""
    seconds = [answer["seconds"] for answer in answers]
    return {
        "system": name,
        "precision": precision,
        "settings": settings,
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "tokens_per_second": statistics.median(answer["tokens"] / answer["seconds"] for answer in answers),
        "share_of_peak": seconds_at_peak / statistics.median(seconds),
        "peak_gb": max(answer["peak_bytes"] for answer in answers) / 1e9,
    }


def lines(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a table: the figures of each system, and how many times as fast this project was."""
    if "losses" in results[0]:
        for result in results:
            losses = " ".join(f"{loss:.5f}" for loss in result["losses"])
            yield f"{result['system']:14}{result['precision']:6}{losses}  differs by {result['largest_difference']:.1e}"
        return
    titles = "".join(f"{title:>9}" for title in ("seconds", "tokens/s", "ours is", "of peak", "peak GB"))
    yield f"{'system':14}{'':7}{'order of texts':28}{titles}"
    ours = {result["precision"]: result["tokens_per_second"] for result in results if result["system"] == "ours"}
    for result in results:
        settings = result["settings"]
        size = f"{settings['max_tokens']} tokens" if "max_tokens" in settings else f"batch {settings['batch_size']}"
        order = f"{settings['sampling']}, {size}"
        ratio = ours.get(result["precision"], float("nan")) / result["tokens_per_second"]
        yield (
            f"{result['system']:14}{result['precision']:7}{order:28}{result['seconds']:9.2f}"
            f"{result['tokens_per_second']:9,.0f}{ratio:9.2f}{result['share_of_peak']:9.1%}{result['peak_gb']:9.2f}"
        )


if __name__ == "__main__":
    sys.exit(run_command(CompareArguments, __doc__, compare))
