"""Print what a quickstart has shown, and write its page anew; scripts/quickstart.sh ends with it.

python -m utils.commands.quickstart_report data/docstrings results/quickstart_<timestamp>
"""

import random
import shlex
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..cli.options import option
from ..cli.run import run_command
from ..cli.shared_args import DATA_DIR_HELP, TableSettings
from ..data.line_files import read_lines
from ..data.splits import Pairs
from ..evaluation.paired_bootstrap import LEVEL, comparison_table, paired_comparison
from ..io.json_files import read_json
from ..io.run_files import BEST_MODEL_FOLDER, METRICS_FILE, PAGE_FILE, PRETRAINED_FOLDER, generations_file, report_file
from .rewrite_pages import PageArguments, read_evaluated, write_again

WIDTH = 100  # columns
EXAMPLES = 3
EXCERPT = 400  # characters of a source
SEED = 3  # draws the examples
SHOWN_TYPES = ("rouge1", "rouge2", "rougeL")

# Folders of the evaluations that a quickstart makes, the trained model's own first, and their names in the table.
EVALUATIONS = {
    ".": "after fine-tuning",
    PRETRAINED_FOLDER: "before: the pretrained model",
    "first_sentence": "first sentence of the text",
}
CONTROLS = {"shuffled_sources": "after, given another text", "from_scratch": "from random weights"}

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ReportArguments:
    data_dir: str = option("", "data", DATA_DIR_HELP, positional=True)
    results: str = option("", "data", "results folder of the quickstart", positional=True)
    tables: TableSettings = field(default_factory=TableSettings)
    own_data: bool = option(False, "data", "the data are the user's own, so say how to go on with them")
    controls: bool = option(False, "data", "report the controls of quickstart.sh --controls too")

    def check(self) -> None:
        """Nothing to check together."""

    @property
    def evaluations(self) -> dict[str, str]:
        """The evaluations to report: their folders and names."""
        return EVALUATIONS | CONTROLS if self.controls else EVALUATIONS

    @property
    def page(self) -> PageArguments:
        """The page to write."""
        return PageArguments(
            self.results,
            data_dir=self.data_dir,
            text_column=self.tables.text_column,
            summary_column=self.tables.summary_column,
        )


def print_report(arguments: ReportArguments) -> None:
    """Print the report, and write the page anew. Raises InputError if a file of the results cannot be read."""
    results = Path(arguments.results)
    reports = {folder: read_json(results / folder / report_file("test")) for folder in arguments.evaluations}
    before = read_lines(results / PRETRAINED_FOLDER / generations_file("test"))
    pairs, after = read_evaluated(arguments.page, reports["."])
    comparison = paired_comparison(results / PRETRAINED_FOLDER, results, "test")
    steps = read_json(results / METRICS_FILE)["train"][-1]["step"]
    write_again(arguments.page)
    sections = [
        "Texts of the test split, drawn at random, with their summaries before and after fine-tuning:",
        *examples(pairs, before, after),
        "\n".join(score_table({name: reports[folder] for folder, name in arguments.evaluations.items()})),
        "\n".join(["What fine-tuning has changed, text by text:", *comparison_table(comparison, "before", "after")]),
        meaning(reports, comparison, steps, len(set(after)) / len(after)),
        *next_steps(arguments),
    ]
    print("", *sections, sep="\n\n")


def examples(pairs: Pairs, before: list[str], after: list[str]) -> list[str]:
    """Draw a few texts, the same ones for the same corpus, and write each with its summaries."""
    assert pairs.targets is not None
    rows = random.Random(SEED).sample(range(len(pairs)), min(EXAMPLES, len(pairs)))
    return [
        "\n".join(
            _wrapped(
                {
                    "text": textwrap.shorten(pairs.sources[row], EXCERPT, placeholder=" ..."),
                    "reference": pairs.targets[row],
                    "before": before[row],
                    "after": after[row],
                }
            )
        )
        for row in rows
    ]


def _wrapped(texts: dict[str, str]) -> list[str]:
    """Wrap texts beside their names."""
    return [
        line
        for name, text in texts.items()
        for line in textwrap.wrap(f"{name:>9}: {text or '(nothing)'}", WIDTH, subsequent_indent=" " * 11)
    ]


def score_table(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Write a table with a line of ROUGE values for every report."""
    examples_scored = next(iter(reports.values()))["n_obs"]
    title = f"Test split, {examples_scored:,} texts"
    name_width = max(map(len, [*reports, title]))
    columns = "".join(name.replace("rouge", "ROUGE-").center(21) for name in SHOWN_TYPES)
    lines = [title.ljust(name_width) + columns.rstrip()]
    for name, report in reports.items():
        scores = (f"{report[kind]:8.2f} {interval(*report['intervals_95'][kind])}" for kind in SHOWN_TYPES)
        lines.append(name.ljust(name_width) + "".join(scores))
    return lines


def interval(low: float, high: float) -> str:
    """Write an interval, always of the same width."""
    return f"[{low:4.1f}, {high:4.1f}]"


def meaning(reports: dict[str, dict[str, Any]], comparison: dict[str, Any], steps: int, distinct: float) -> str:
    """Say what may be concluded from the scores, and what may not.

    Args:
        reports: of the evaluations, by folder; with or without those of the controls.
        comparison: of the scores before and after fine-tuning.
        steps: optimizer steps of the fine-tuning.
        distinct: number of different summaries of the fine-tuned model, divided by the number of all.
    """
    beyond_chance = comparison["scores"]["rouge1"]["p"] < LEVEL
    sentences = [
        f"{steps:,} steps of fine-tuning have changed ROUGE-1 by {comparison['scores']['rouge1']['difference']:+.2f}, "
        f"which is {'beyond' if beyond_chance else 'within'} chance at {LEVEL:.0%}.",
        "The first sentence of the text, a baseline that is hard to beat, scores "
        f"{_against_own(reports, 'first_sentence')} than the fine-tuned model.",
    ]
    if reports.keys() >= CONTROLS.keys():
        sentences += [
            "What comes from reading: given another text, the fine-tuned model scores "
            f"{_against_own(reports, 'shuffled_sources')}.",
            "What comes from pre-training: a model trained from random weights for as many steps scores "
            f"{_against_own(reports, 'from_scratch')}.",
        ]
    else:
        sentences.append("What comes from reading the text, and what from pre-training, is measured with --controls.")
    sentences += [
        f"{distinct:.0%} of the fine-tuned model's summaries are distinct.",
        "Brackets hold 95% bootstrap intervals over the texts; a training with another seed may differ in another way.",
        "The model is small, and what it says may be wrong; for better summaries, start from a large one.",
    ]
    return textwrap.fill(" ".join(sentences), WIDTH)


def _against_own(reports: dict[str, dict[str, Any]], folder: str) -> str:
    """Compare an evaluation's ROUGE-1 with the fine-tuned model's, in words."""
    difference = reports[folder]["rouge1"] - reports["."]["rouge1"]
    return f"{abs(difference):.2f} {'more' if difference > 0 else 'less'}"


def next_steps(arguments: ReportArguments) -> list[str]:
    """Say where the results are and how to go on, with commands that can be copied."""
    results = Path(arguments.results)
    model = shlex.quote(str(results / BEST_MODEL_FOLDER))
    return [
        "What to do next",
        f"Open the page in a browser, with all examples before and after:\n    {results / PAGE_FILE}",
        "Summarize a text of your own with the fine-tuned model:\n"
        f"    echo 'Your text.' | bash {_script('summarize.sh')} {model}",
        _with_large_model(arguments) if arguments.own_data else _with_own_data(),
    ]


def _with_own_data() -> str:
    return (
        "Do all this with your own data: put train.csv, val.csv and test.csv into a folder my_data, each with\n"
        "a column text and a column summary (docs/data.md lists what else it may hold), and run\n"
        f"    DATA_DIR=my_data bash {_script('quickstart.sh')}"
    )


def _with_large_model(arguments: ReportArguments) -> str:
    given = {name: value for name, value in vars(arguments.tables).items() if value is not None}
    flags = shlex.join(part for name, value in given.items() for part in (f"--{name}", value))
    config = shlex.quote(str(CHECKOUT / "configs" / "config_xsum.json"))
    command = f"bash {_script('run_summarization.sh')} {shlex.quote(arguments.data_dir)} {config}"
    return (
        "Fine-tune a large BART on your data, on a GPU (config_xsum.json is for summaries of one sentence,\n"
        "config.json for those of several):\n"
        f"    {command} 1 3e-5 8 4 fp16 2000 100 1024 142 4 32 32 0.5 3 {flags}".rstrip()
    )


def _script(name: str) -> str:
    return shlex.quote(str(CHECKOUT / "scripts" / name))


if __name__ == "__main__":
    sys.exit(run_command(ReportArguments, "Print the scores and examples of a quickstart.", print_report))
