"""Print the scores of a quickstart beside baselines, examples, and a conclusion; scripts/quickstart.sh ends with it.

python -m utils.commands.quickstart_report data/docstrings results/quickstart_<timestamp>
"""

import random
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cli.options import option
from ..cli.run import run_command
from ..data.line_files import read_lines
from ..data.splits import Pairs, read_pairs
from ..io.json_files import read_json
from ..io.run_files import METRICS_FILE, PAGE_FILE, generations_file, report_file
from ..reporting.results_page.content import COMPARED_WITH
from .rewrite_pages import PageArguments, write_again

WIDTH = 100  # columns
EXAMPLES = 10
EXCERPT = 400  # characters of a source
SEED = 3  # chooses the examples
SHOWN_TYPES = ("rouge1", "rouge2", "rougeL")

# Folders of the evaluations that a quickstart makes, the trained model's own first, and their names in the table.
_BASELINES = ("shuffled_sources", "pretrained", "from_scratch", "first_sentence")
EVALUATIONS = {".": "fine-tuned model", **{folder: COMPARED_WITH[folder] for folder in _BASELINES}}

MEANING = """\
The pretrained model was fine-tuned for {steps:,} optimizer steps. The first sentence of the text, a baseline that is
hard to beat, scores {baseline:.2f} ROUGE-1 {comparison}; the same model without pre-training, after as many steps,
{pretraining:.2f} less. If it is given another text, the model scores {lost:.2f} less: that much comes from reading.
{distinct:.0%} of its summaries are distinct. The brackets hold 95% bootstrap intervals over the texts. This is a small
model for a small corpus; for news, start from a large one with --model_name_or_path."""


@dataclass(frozen=True)
class ReportArguments:
    data_dir: str = option("", "Data", "folder with the test split", positional=True)
    results: str = option("", "Data", "results folder of the quickstart", positional=True)

    def check(self) -> None:
        """Nothing to check together."""


def print_report(arguments: ReportArguments) -> None:
    """Print the report, and write the page anew. Raises InputError if a file of the results cannot be read."""
    results = Path(arguments.results)
    reports = {name: read_json(results / folder / report_file("test")) for folder, name in EVALUATIONS.items()}
    metrics = read_json(results / METRICS_FILE)
    pairs = read_pairs(arguments.data_dir, "test")
    generations = read_lines(results / generations_file("test"))
    sections = [
        "\n".join(losses(metrics)),
        "\n".join(score_table(reports)),
        *examples(pairs, generations),
        meaning(reports, metrics, generations),
        f"Everything is in {results}; its folder best_tfmr is the model in Hugging Face format.\n"
        f"Open in a browser, with all examples: {results / PAGE_FILE}",
    ]
    print("", *sections, sep="\n\n")
    write_again(PageArguments(results=arguments.results, data_dir=arguments.data_dir))


def losses(metrics: dict[str, Any]) -> list[str]:
    """Write the validation losses of a training."""
    validations = [f"{validation['loss']:.2f} (step {validation['step']})" for validation in metrics["validation"]]
    return textwrap.wrap(f"Validation loss per token: {', '.join(validations)}.", WIDTH)


def score_table(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Write a table with a line of ROUGE values for every report."""
    examples_scored = next(iter(reports.values()))["n_obs"]
    title = f"Test split, {examples_scored:,} texts"
    name_width = max(map(len, [*reports, title]))
    lines = [title.ljust(name_width) + "".join(name.replace("rouge", "ROUGE-").center(21) for name in SHOWN_TYPES)]
    for name, report in reports.items():
        scores = (f"{report[kind]:8.2f} {interval(*report['intervals_95'][kind])}" for kind in SHOWN_TYPES)
        lines.append(name.ljust(name_width) + "".join(scores))
    return lines


def interval(low: float, high: float) -> str:
    """Write an interval, always of the same width."""
    return f"[{low:4.1f}, {high:4.1f}]"


def examples(pairs: Pairs, generations: list[str]) -> list[str]:
    """Choose a few texts, the same ones for the same corpus, and write each with its summaries."""
    rows = random.Random(SEED).sample(range(len(pairs)), EXAMPLES)
    return ["\n".join(example(pairs.sources[row], pairs.targets[row], generations[row])) for row in rows]


def example(source: str, reference: str, generated: str) -> list[str]:
    """Write a text and its summaries, wrapped under their names."""
    parts = {"text": textwrap.shorten(source, EXCERPT, placeholder=" ..."), "reference": reference, "model": generated}
    return [
        line
        for name, text in parts.items()
        for line in textwrap.wrap(f"{name:>9}: {text or '(nothing)'}", WIDTH, subsequent_indent=" " * 11)
    ]


def meaning(reports: dict[str, dict[str, Any]], metrics: dict[str, Any], generations: list[str]) -> str:
    """Say what may be concluded from the scores, and what may not."""
    scores = {folder: reports[name]["rouge1"] for folder, name in EVALUATIONS.items()}
    text = MEANING.format(
        steps=metrics["train"][-1]["step"],
        baseline=abs(scores["first_sentence"] - scores["."]),
        comparison="more" if scores["first_sentence"] > scores["."] else "less",
        pretraining=scores["."] - scores["from_scratch"],
        lost=scores["."] - scores["shuffled_sources"],
        distinct=len(set(generations)) / len(generations),
    )
    return textwrap.fill(text, WIDTH)


if __name__ == "__main__":
    sys.exit(run_command(ReportArguments, "Print the scores and examples of a quickstart.", print_report))
