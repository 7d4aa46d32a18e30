"""Tell whether a difference between two evaluations of the same examples is beyond chance (Koehn 2004).

https://aclanthology.org/W04-3250: the examples are drawn anew many times, the same ones for both evaluations.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bart.errors import InputError

from ..io.json_files import read_json
from ..io.run_files import example_scores_file, report_file
from .rouge import ROUGE_TYPES, resampled_means
from .score_files import read_example_scores

RESAMPLES = 10_000
LEVEL = 0.05  # of significance


def paired_comparison(first: Path, second: Path, split: str) -> dict[str, Any]:
    """Compare two evaluations by a paired bootstrap (Koehn 2004, https://aclanthology.org/W04-3250).

    The examples are drawn with replacement 10,000 times, the same ones for both. ``p`` is two-sided: twice the share of
    draws on the other side of zero.

    Returns:
        What compare_runs.sh --json prints: for each ROUGE type both scores, their difference with its 95% interval,
        and p.

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


def comparison_table(comparison: dict[str, Any], first: str = "A", second: str = "B") -> list[str]:
    """Write the scores of a comparison as the lines of a table, under short names of the two evaluations."""
    change = f"{second} - {first}"
    width = max(8, len(change) + 2)
    lines = [f"{'':<10}{first:>8}{second:>8}{change:>{width}}   {'95% interval':<18}{'p':>6}"]
    for name, row in comparison["scores"].items():
        interval = "[{:+.2f}, {:+.2f}]".format(*row["interval_95"])
        figures = f"{row['first']:8.2f}{row['second']:8.2f}{row['difference']:+{width}.2f}"
        lines.append(f"{name:<10}{figures}   {interval:<18}{row['p']:>6.4f}")
    return lines


def two_sided_p(draws: np.ndarray) -> float:
    """Return p of a difference, from its draws (resamples,).

    It is twice the share of draws at or beyond zero, on the rarer side, counted so that it is never 0.
    """
    rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(draws) + 1))


def holm(p_values: Sequence[float], tests: int) -> list[float]:
    """Correct p values for the number of tests (Holm 1979, https://www.jstor.org/stable/4615733).

    The chance of one or more false findings among all tests then stays below the level.

    Args:
        p_values: of some of the tests, in any order.
        tests: how many there are in all. Those that are not listed count as if their p was 1.

    Returns:
        The corrected p values, in the order of ``p_values``.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (tests - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def _report(folder: Path, split: str) -> dict[str, Any]:
    for name in (report_file(split), example_scores_file(split)):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: not found; give the results folder of an evaluation of {split}")
    report = read_json(folder / report_file(split))
    if not isinstance(report, dict) or not report.keys() >= {"scorer", *ROUGE_TYPES}:
        raise InputError(f"{folder / report_file(split)}: holds no scores and scorer of an evaluation; evaluate again")
    return report
