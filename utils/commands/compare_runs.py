"""Test if one of two evaluations of the same examples scores higher beyond chance.

bash scripts/compare_runs.sh results/bart_pyt_a results/bart_pyt_b
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bart.errors import InputError

from ..cli.options import option
from ..cli.run import run_command
from ..evaluation.paired_bootstrap import LEVEL, RESAMPLES, two_sided_p
from ..evaluation.rouge import ROUGE_TYPES, resampled_means
from ..evaluation.score_files import read_example_scores
from ..io.json_files import read_json
from ..io.run_files import example_scores_file, report_file


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


def paired_comparison(first: Path, second: Path, split: str) -> dict[str, Any]:
    """Compare two evaluations by a paired bootstrap (Koehn 2004, https://aclanthology.org/W04-3250).

    The examples are drawn with replacement 10,000 times, the same ones for both. ``p`` is two-sided: twice the share of
    draws on the other side of zero.

    Returns:
        What --json prints: for each ROUGE type both scores, their difference with its 95% interval, and p.

    Raises:
        InputError: The folders hold no evaluations of the same examples by the same scorer.
    """
    # Read both, and see that they can be compared.
    folders = [first, second]
    reports = [_report(folder, split) for folder in folders]
    examples = [read_example_scores(folder, split) for folder in folders]
    if examples[0].references != examples[1].references:
        counts = " and ".join(f"{len(each.scores):,}" for each in examples)
        raise InputError(
            f"{first} and {second}: evaluated on different examples ({counts} of {split}); "
            "evaluate both on the same ones"
        )
    scorers = [report["scorer"] for report in reports]
    if scorers[0] != scorers[1]:
        raise InputError(
            f"{first} and {second}: scored differently ({scorers[0]} and {scorers[1]}); evaluate one of them again"
        )

    # Draw the examples anew, and see how much the difference depends on them.
    differences = examples[1].scores - examples[0].scores
    draws = resampled_means(differences, RESAMPLES, seed=0)  # (resamples, 4)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return {
        "first": str(first),
        "second": str(second),
        "split": split,
        "n_obs": len(differences),
        "scorer": scorers[0],
        "resamples": RESAMPLES,
        "scores": {
            name: {
                "first": reports[0][name],
                "second": reports[1][name],
                "difference": reports[1][name] - reports[0][name],
                "interval_95": [float(low[index]), float(high[index])],
                "p": two_sided_p(draws[:, index]),
            }
            for index, name in enumerate(ROUGE_TYPES)
        },
    }


def comparison_text(comparison: dict[str, Any]) -> str:
    """Write a comparison as a table, with a sentence on what it shows."""
    lines = [
        f"A: {comparison['first']}",
        f"B: {comparison['second']}",
        f"{comparison['n_obs']:,} examples of {comparison['split']}, ROUGE times 100",
        "",
        f"{'':<10}{'A':>8}{'B':>8}{'B - A':>8}   {'95% interval':<18}{'p':>6}",
    ]
    for name, row in comparison["scores"].items():
        interval = "[{:+.2f}, {:+.2f}]".format(*row["interval_95"])
        figures = f"{row['first']:8.2f}{row['second']:8.2f}{row['difference']:+8.2f}"
        lines.append(f"{name:<10}{figures}   {interval:<18}{row['p']:>6.4f}")
    beyond = [name for name, row in comparison["scores"].items() if row["p"] < LEVEL]
    verdict = f"Beyond chance at 5%: {', '.join(beyond) or 'nothing'} (paired bootstrap over the examples)."
    return "\n".join([*lines, "", verdict, "Trainings with other seeds may differ in another way."])


def _report(folder: Path, split: str) -> dict[str, Any]:
    for name in (report_file(split), example_scores_file(split)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: not found; give the results folder of an evaluation of {split}")
    report: dict[str, Any] = read_json(folder / report_file(split))
    return report


if __name__ == "__main__":
    sys.exit(run_command(CompareRunsArguments, "Compare two evaluations of the same examples.", compare_runs))
