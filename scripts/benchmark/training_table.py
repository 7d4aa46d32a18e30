"""Print the table of scripts/run_training_benchmark.sh, from the metrics.json files of its trainings.

python -m scripts.benchmark.training_table results/bart_pyt_training_benchmark_<timestamp>
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bart.errors import InputError
from scripts.benchmark.inference_table import TableArguments, skipped_lines
from utils.cli.run import run_command
from utils.io.json_files import read_json, write_json
from utils.runtime.hardware import describe_machine


def print_table(arguments: TableArguments) -> None:
    """Print the table and write training_benchmark.json. Raises InputError if the folder holds no measurements."""
    folder = Path(arguments.results)
    rows = sorted(_rows(folder), key=lambda row: (row["gpus"], -row["tokens_per_second"]))
    if not rows:
        raise InputError(f"{folder}: holds no trainings of a benchmark; give its results folder")
    singles = {row["precision"]: row["tokens_per_second"] for row in rows if row["gpus"] <= 1}
    for row in rows:
        row["weak_scaling"] = row["tokens_per_second"] / singles[row["precision"]]
    content = {"machine": describe_machine(), "trainings": rows, "skipped": skipped_lines(folder)}
    write_json(folder / "training_benchmark.json", content)
    print("\n".join(_lines(content)))


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for path in folder.glob("*/metrics.json"):
        if match := re.fullmatch(r"training_(\d+)gpu_(\w+)", path.parent.name):
            arguments = read_json(path.parent / "run.json")["arguments"]
            names = ("train_batch_size", "max_source_length", "max_target_length")
            given = {name: arguments[name] for name in names}
            yield {"gpus": int(match[1]), "precision": match[2], **given, **read_json(path)["throughput"]}


def _lines(content: dict[str, Any]) -> Iterator[str]:
    rows = content["trainings"]
    first = rows[0]
    yield content["machine"]
    yield (
        f"{first['sequences']:,.0f} sequences, sources of at most {first['max_source_length']:,} tokens and targets of"
        f" at most {first['max_target_length']:,}, {first['train_batch_size']} per GPU; tokens are those of sources and"
        " targets without padding"
    )
    yield ""
    titles = ("tokens/s", "sequences/s", "weak scaling", "of peak", "waiting", "peak GB")
    yield f"{'NUM_GPU':>8}{'precision':>11}{''.join(f'{title:>14}' for title in titles)}"
    for row in rows:
        yield (
            f"{row['gpus']:8}{row['precision']:>11}{row['tokens_per_second']:14,.0f}{row['sequences_per_second']:14.2f}"
            f"{row['weak_scaling']:14.2f}{row['share_of_peak']:14.1%}{row['share_waiting_for_data']:14.2%}"
            f"{row['peak_memory_gb']:14.2f}"
        )
    yield from content["skipped"]


if __name__ == "__main__":
    sys.exit(run_command(TableArguments, "Print the table of a training benchmark.", print_table))
