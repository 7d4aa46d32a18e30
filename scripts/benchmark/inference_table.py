"""Print the tables of scripts/run_inference_benchmark.sh, from the JSON files of its evaluations.

python -m scripts.benchmark.inference_table results/bart_pyt_inference_benchmark_<timestamp>
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError
from utils.cli.options import option
from utils.cli.run import run_command
from utils.io.json_files import read_json, write_json
from utils.runtime.hardware import describe_machine


@dataclass
class TableArguments:
    results: str = option("", "Results", "results folder of the benchmark", positional=True)

    def check(self) -> None:
        """Accept any value."""


def print_tables(arguments: TableArguments) -> None:
    """Print the tables and write inference_benchmark.json. Raises InputError if the folder holds no measurements."""
    folder = Path(arguments.results)
    reports = {path.parent.name: read_json(path) for path in folder.glob("*/test_rouge.json")}
    throughput = sorted(_throughput(reports), key=lambda row: (row["gpus"], -row["sequences_per_second"]))
    latency = sorted(_latency(reports), key=lambda row: row["batch_size"])
    if not throughput or not latency:
        raise InputError(f"{folder}: holds no evaluations of a benchmark; give its results folder")
    measured = {"throughput": throughput, "latency": latency}
    content = {"machine": describe_machine(), **measured, "skipped": skipped_lines(folder)}
    write_json(folder / "inference_benchmark.json", content)
    print("\n".join(_lines(content)))


def skipped_lines(folder: Path) -> list[str]:
    """Return the lines that say what a benchmark did not measure, and why."""
    skipped = folder / "skipped.txt"
    return skipped.read_text(encoding="utf-8").splitlines() if skipped.exists() else []


def _throughput(reports: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, report in reports.items():
        if match := re.fullmatch(r"throughput_(\d+)gpu_(\w+)", name):
            yield {"gpus": int(match[1]), "precision": match[2], **_common(report)}


def _latency(reports: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, report in reports.items():
        if re.fullmatch(r"latency_\d+", name):
            yield {"precision": report["precision"], **_common(report), "seconds": report["latency_seconds"]}


def _common(report: dict[str, Any]) -> dict[str, Any]:
    names = ("batch_size", "beams", "max_source_length", "n_obs", "sequences_per_second")
    return {**{name: report[name] for name in names}, "max_target_length": report["search"]["max_length"]}


def _lines(content: dict[str, Any]) -> Iterator[str]:
    throughput, latency = content["throughput"], content["latency"]
    first = throughput[0]
    yield content["machine"]
    yield (
        f"{first['n_obs']:,} sources of at most {first['max_source_length']:,} tokens, outputs of at most "
        f"{first['max_target_length']:,}, {first['beams']} beams"
    )
    yield ""
    yield f"{'NUM_GPU':>8}{'precision':>11}{'batch size':>12}{'sequences/s':>13}"
    for row in throughput:
        yield (
            f"{row['gpus']:8}{row['precision']:>11}{row['batch_size']:12}{row['sequences_per_second']:13.2f}"
        )
    yield ""
    yield f"latency of a batch in seconds, {latency[0]['precision']}:"
    kinds = {"mean": "average", "p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%"}
    yield f"{'batch size':>10}{''.join(f'{title:>10}' for title in kinds.values())}{'sequences/s':>13}"
    for row in latency:
        seconds = "".join(f"{row['seconds'][kind]:10.3f}" for kind in kinds)
        yield f"{row['batch_size']:10}{seconds}{row['sequences_per_second']:13.2f}"
    yield from content["skipped"]


if __name__ == "__main__":
    sys.exit(run_command(TableArguments, "Print the tables of an inference benchmark.", print_tables))
