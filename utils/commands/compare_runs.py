"""Test if one of two evaluations of the same examples scores higher beyond chance.

bash scripts/compare_runs.sh results/bart_pyt_a results/bart_pyt_b
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cli.options import option
from ..cli.run import run_command
from ..evaluation.paired_bootstrap import LEVEL, comparison_table, paired_comparison


@dataclass(frozen=True)
class CompareRunsArguments:
    first: str = option("", "Runs", "results folder of an evaluation", positional=True)
    second: str = option("", "Runs", "results folder of another evaluation of the same examples", positional=True)
    split: str = option("test", "Runs", "split that both were evaluated on", choices=("train", "val", "test"))
    json: bool = option(False, "Runs", "print JSON instead of a table")

    def check(self) -> None:
        """Nothing to check together."""


def compare_runs(arguments: CompareRunsArguments) -> None:
    """Print the comparison. Raises InputError if the folders hold no evaluations of the same examples."""
    comparison = paired_comparison(Path(arguments.first), Path(arguments.second), arguments.split)
    print(json.dumps(comparison, indent=2) if arguments.json else comparison_text(comparison))


def comparison_text(comparison: dict[str, Any]) -> str:
    """Write a comparison as a table, with a sentence on what it shows."""
    lines = [
        f"A: {comparison['first']}",
        f"B: {comparison['second']}",
        f"{comparison['n_obs']:,} examples of {comparison['split']}, ROUGE times 100",
        "",
        *comparison_table(comparison),
    ]
    beyond = [name for name, row in comparison["scores"].items() if row["p"] < LEVEL]
    verdict = f"Beyond chance at 5%: {', '.join(beyond) or 'nothing'} (paired bootstrap over the examples)."
    return "\n".join([*lines, "", verdict, "Trainings with other seeds may differ in another way."])


if __name__ == "__main__":
    sys.exit(run_command(CompareRunsArguments, "Compare two evaluations of the same examples.", compare_runs))
