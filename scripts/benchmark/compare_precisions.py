"""Test whether one precision trains as well as another, by paired ROUGE-1 of the quickstart's training.

Every run is scripts/run_summarization.sh with the preset `cpu` of the docstring corpus; only precision and seed change.
The interval is that of the mean difference over all test texts and seeds, by the bootstrap over the texts.

Example: python -m scripts.benchmark.compare_precisions --seeds 42,43,44 --json compare_precisions.json
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bart.errors import InputError
from utils.cli.options import option
from utils.cli.run import run_command

ROOT = Path(__file__).parents[2]
PRESET = "source scripts/params/docstrings_params.sh && cpu"
_PRECISION = 6  # the index of this positional argument
_RESAMPLES = 10_000


@dataclass
class PrecisionArguments:
    """The command line."""

    precisions: str = option("fp32,bf16", "Runs", "two precisions; the second is compared with the first")
    seeds: str = option("42,43,44", "Runs", "seeds of finetune.py, separated by commas")
    folder: str | None = option(None, "Output", "folder to keep the runs in (default: a temporary one)")
    json: str | None = option(None, "Output", "file for the figures, as JSON")
    flags: str = option("", "Runs", "further flags of finetune.py, such as '--max_steps 100'")

    def check(self) -> None:
        if len(self.precisions.split(",")) != 2:
            raise InputError(f"--precisions {self.precisions}: give two, separated by a comma")


def compare(arguments: PrecisionArguments) -> None:
    """Train with each precision and seed, print the differences, and write them to --json if it is given."""
    from utils.io.json_files import read_json, write_json
    from utils.runtime.hardware import describe_machine

    precisions, seeds = arguments.precisions.split(","), list(map(int, arguments.seeds.split(",")))
    scores: dict[str, list[np.ndarray]] = {precision: [] for precision in precisions}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in seeds:
            for precision in precisions:
                results = Path(arguments.folder or temporary).absolute() / f"{precision}_seed{seed}"
                data_dir = train(results, precision, seed, arguments.flags.split())
                scores[precision].append(rouge1_of_each(results, data_dir))
                report = read_json(results / "test_rouge.json")
                speed = read_json(results / "metrics.json")["speed"]
                figures = {name: report[name] for name in ("rouge1", "rouge2", "rougeL")}
                tokens_per_second = float(np.median([record["tokens_per_second"] for record in speed]))
                runs.append({"precision": precision, "seed": seed, **figures, "tokens_per_second": tokens_per_second})
                print("  ".join(f"{name} {value:.2f}" if isinstance(value, float) else f"{name} {value}"
                                for name, value in runs[-1].items()), flush=True)  # fmt: skip
    differences = 100 * (np.stack(scores[precisions[1]]) - np.stack(scores[precisions[0]])).mean(0)  # of each text
    low, high = bootstrap_interval(differences)
    print(
        f"rouge1 of {precisions[1]} minus that of {precisions[0]}: {differences.mean():+.2f}, 95% interval "
        f"[{low:+.2f}, {high:+.2f}], {len(seeds)} seeds, {len(differences):,} texts; {describe_machine()}"
    )
    if arguments.json is not None:
        summary = {"mean_difference": differences.mean(), "interval_95": [low, high], "machine": describe_machine()}
        write_json(arguments.json, {"arguments": asdict(arguments), "runs": runs, **summary})


def train(results: Path, precision: str, seed: int, flags: list[str]) -> Path:
    """Fine-tune and evaluate; return the data folder. Raises InputError if that fails."""
    printed = subprocess.run(["bash", "-c", PRESET], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    command = printed.split()
    command[_PRECISION] = precision
    environment = {**os.environ, "RESULTS_DIR": str(results), "PYTHON": sys.executable}
    script = ["bash", "scripts/run_summarization.sh", *command, "--seed", str(seed), *flags]
    run = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise InputError(f"{results}: the training failed: {(run.stdout + run.stderr).strip().splitlines()[-1]}")
    return ROOT / command[0]


def rouge1_of_each(results: Path, data_dir: Path) -> np.ndarray:
    """Return ROUGE-1, from 0 to 1, of each test text."""
    from utils.data.line_files import read_lines
    from utils.data.splits import read_pairs
    from utils.evaluation.rouge import ROUGE_TYPES, example_scores

    scores = example_scores(read_lines(results / "test_generations.txt"), read_pairs(data_dir, "test").targets)
    return scores[:, ROUGE_TYPES.index("rouge1")]


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95% interval of the mean of (N,) values."""
    random = np.random.default_rng(0)
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(_RESAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    sys.exit(run_command(PrecisionArguments, __doc__, compare))
