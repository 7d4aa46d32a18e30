"""Whether an evaluation of a published model gives the published ROUGE: what scripts/verify_published.sh ends with."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError
from utils.command_line import above, option, run_command
from utils.report import read_json

# BART's paper, table 3 (https://arxiv.org/abs/1910.13461). Its ROUGE-L of CNN-DM is the one by sentences (rougeLsum);
# XSum's summaries are single sentences.
PUBLISHED = {
    "cnn": {"rouge1": 44.16, "rouge2": 21.28, "rougeLsum": 40.90},
    "xsum": {"rouge1": 45.14, "rouge2": 22.27, "rougeL": 37.25},
}
_NOT_HELD = 1  # exit code


@dataclass
class VerifyArguments:
    results: str = option("", "Results", "results folder of the evaluation", positional=True)
    corpus: str = option("cnn", "Results", "which published values", choices=tuple(PUBLISHED))
    examples: int = option(11490, "Results", "examples of the whole split; of fewer, only the intervals are shown")
    published: str | None = option(
        None, "Results", 'JSON file of other values, such as {"rouge1": 44.16} (default: those of BART\'s paper)'
    )
    tolerance: float = option(0.2, "Results", "difference that is allowed, in ROUGE times 100", check=above(0))

    def check(self) -> None:
        """Nothing to check together."""


def verify(arguments: VerifyArguments) -> None:
    """Print the values beside the published ones. Ends the program with code 1 where one is not held."""
    report = read_json(Path(arguments.results) / "test_rouge.json")
    published = PUBLISHED[arguments.corpus] if arguments.published is None else _read_values(Path(arguments.published))
    whole = report["n_obs"] == arguments.examples
    print(f"{report['model']}: {report['n_obs']:,} examples, ROUGE times 100 ({report['scorer']['scorer']})")
    print(f"{'':<10}{'published':>10}{'here':>8}   95% interval")
    held = True
    for name, value in published.items():
        agrees = abs(report[name] - value) <= arguments.tolerance + 1e-9
        held = held and agrees
        verdict = "" if not whole else "   held" if agrees else f"   not within {arguments.tolerance}"
        interval = "[{:.2f}, {:.2f}]".format(*report["intervals_95"][name])
        print(f"{name:<10}{value:10.2f}{report[name]:8.2f}   {interval}{verdict}")
    if not whole:
        print(f"A part of the split: published values are of all {arguments.examples:,} examples, so nothing is held.")
    elif not held:
        print("Not the published values.")
        sys.exit(_NOT_HELD)
    else:
        print("The published values, within the tolerance.")


def _read_values(path: Path) -> dict[str, float]:
    values: Any = read_json(path)
    known = {"rouge1", "rouge2", "rougeL", "rougeLsum"}
    if not isinstance(values, dict) or not values or not values.keys() <= known:
        raise InputError(f"--published {path}: give an object with some of {', '.join(sorted(known))}")
    if not all(isinstance(value, int | float) for value in values.values()):
        raise InputError(f"--published {path}: give numbers, ROUGE times 100")
    return values


if __name__ == "__main__":
    sys.exit(run_command(VerifyArguments, "Hold an evaluation against published ROUGE values.", verify))
