"""Check that an evaluation of a published model gives the published ROUGE; scripts/verify_published.sh ends with it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError

from ..cli.options import above, option
from ..cli.run import run_command
from ..io.json_files import read_json
from ..io.run_files import report_file
from ..reporting.published_evaluations import EVALUATIONS, Evaluation, spans

_NOT_HELD = 1  # exit code


@dataclass(frozen=True)
class VerifyArguments:
    results: str = option("", "Results", "results folder of the evaluation", positional=True)
    corpus: str = option("cnn", "Results", "corpus of the published values", choices=tuple(EVALUATIONS))
    examples: int = option(11490, "Results", "number of examples in the whole split; with fewer, nothing is judged")
    published: str | None = option(
        None,
        "Results",
        'JSON file of other values, such as {"rouge1": 44.16} '
        "(default: those of utils/reporting/published_evaluations.py)",
    )
    tolerance: float = option(
        0.2, "Results", "how far a value may lie beyond those that others measured, in ROUGE times 100", check=above(0)
    )

    def check(self) -> None:
        """Nothing to check together."""


def verify(arguments: VerifyArguments) -> None:
    """Print the values beside the published ones; ends the program with code 1 if one is beyond the tolerance.

    Raises InputError if the evaluation or the file of other values cannot be read.
    """
    # Read this evaluation and those to compare it with.
    report = read_json(Path(arguments.results) / report_file("test"))
    evaluations = EVALUATIONS[arguments.corpus]
    if arguments.published is not None:
        evaluations = [_read_evaluation(Path(arguments.published))]
    whole = report["n_obs"] == arguments.examples

    # Judge each metric; 1e-9 allows for floating-point rounding.
    print(f"{report['model']}: {report['n_obs']:,} examples, ROUGE times 100 ({report['scorer']['scorer']})")
    print(f"{'':<10}{'published':>15}{'here':>8}   95% interval")
    held = True
    for name, (lowest, highest) in spans(evaluations).items():
        agrees = lowest - arguments.tolerance - 1e-9 <= report[name] <= highest + arguments.tolerance + 1e-9
        held = held and agrees
        verdict = "" if not whole else "   held" if agrees else f"   not within {arguments.tolerance}"
        interval = "[{:.2f}, {:.2f}]".format(*report["intervals_95"][name])
        span = f"{lowest:.2f} - {highest:.2f}" if lowest < highest else f"{lowest:.2f}"
        print(f"{name:<10}{span:>15}{report[name]:8.2f}   {interval}{verdict}")
    _print_differences(evaluations, report)

    # Conclude.
    if not whole:
        print(f"A part of the split: published values are of all {arguments.examples:,} examples, so nothing is held.")
    elif not held:
        print("Not the published values.")
        sys.exit(_NOT_HELD)
    else:
        print("The published values, within the tolerance.")


def _print_differences(evaluations: list[Evaluation], report: dict[str, Any]) -> None:
    """Print a line for each evaluation with its values, and how much higher they are here."""
    metrics = list(spans(evaluations))
    width = max(len(evaluation.source) for evaluation in evaluations)
    print(f"{'published, and how much more here':<{width}}" + "".join(f"{metric:>17}" for metric in metrics))
    for evaluation in evaluations:
        cells = [
            f"{evaluation.rouge[metric]:10.2f}{report[metric] - evaluation.rouge[metric]:+7.2f}"
            if metric in evaluation.rouge
            else ""
            for metric in metrics
        ]
        print(f"{evaluation.source:<{width}}{''.join(f'{cell:>17}' for cell in cells)}".rstrip())


def _read_evaluation(path: Path) -> Evaluation:
    values: Any = read_json(path)
    known = {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    if not isinstance(values, dict) or not values or not values.keys() <= known:
        raise InputError(f"--published {path}: give an object with some of {', '.join(sorted(known))}")
    if not all(isinstance(value, int | float) for value in values.values()):
        raise InputError(f"--published {path}: give numbers, ROUGE times 100")
    return Evaluation(str(path), values)


if __name__ == "__main__":
    sys.exit(run_command(VerifyArguments, "Hold an evaluation against published ROUGE values.", verify))
