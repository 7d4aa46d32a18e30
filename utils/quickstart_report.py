"""What scripts/quickstart.sh prints at its end: the scores beside the baselines', examples, and what to make of them.

python -m utils.quickstart_report data/docstrings results/quickstart_<timestamp>
"""

import random
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.command_line import option, run_command
from utils.line_files import read_lines
from utils.pairs import Pairs, read_pairs
from utils.report import read_json
from utils.rouge import ROUGE_TYPES

WIDTH = 100  # columns
EXAMPLES = 3
EXCERPT = 400  # characters of a source
SEED = 3  # which examples

# Folders of evaluations below the results folder, the trained model's own first, and what they are called here.
EVALUATIONS = {
    ".": "trained model",
    "shuffled_sources": "trained model, given another text",
    "untrained": "the same model before training",
    "first_sentence": "first sentence of the text",
}

MEANING = """\
The weights were random {steps:,} optimizer steps ago. That is enough to learn what summary lines look like, and too
little to write good ones: the first sentence of the text scores {comparison}. Given another text, the model scores
{lost:.2f} ROUGE-1 less: so much comes from reading. Good summaries take pretrained weights; --model_name_or_path names
them."""


@dataclass
class ReportArguments:
    data_dir: str = option("", "Data", "folder with the test split", positional=True)
    results: str = option("", "Data", "results folder of the quickstart", positional=True)

    def check(self) -> None:
        """Nothing to check together."""


def print_report(arguments: ReportArguments) -> None:
    """Print all of it. Raises InputError where a file of the results cannot be read."""
    results = Path(arguments.results)
    reports = {name: read_json(results / folder / "test_rouge.json") for folder, name in EVALUATIONS.items()}
    metrics = read_json(results / "metrics.json")
    pairs = read_pairs(arguments.data_dir, "test")
    generations = read_lines(results / "test_generations.txt")
    sections = [
        "\n".join(losses(metrics)),
        "\n".join(score_table(reports)),
        *examples(pairs, generations),
        meaning(reports, metrics),
        f"Everything is in {results}, the model in its best_tfmr, in Hugging Face format.",
    ]
    print("", *sections, sep="\n\n")


def losses(metrics: dict[str, Any]) -> list[str]:
    """The validation losses of a training."""
    validations = [f"{validation['loss']:.2f} (step {validation['step']})" for validation in metrics["validation"]]
    return textwrap.wrap(f"Validation loss per token: {', '.join(validations)}.", WIDTH)


def score_table(reports: dict[str, dict[str, Any]]) -> list[str]:
    """A line of ROUGE values for every report."""
    examples_scored = next(iter(reports.values()))["n_obs"]
    title = f"Test split, {examples_scored:,} texts"
    name_width = max(map(len, [*reports, title]))
    lines = [title.ljust(name_width) + "".join(name.replace("rouge", "ROUGE-").rjust(12) for name in ROUGE_TYPES)]
    for name, report in reports.items():
        lines.append(name.ljust(name_width) + "".join(f"{report[rouge_type]:12.2f}" for rouge_type in ROUGE_TYPES))
    return lines


def examples(pairs: Pairs, generations: list[str]) -> list[str]:
    """A few texts with their summaries, the same ones for the same corpus."""
    rows = random.Random(SEED).sample(range(len(pairs)), EXAMPLES)
    return ["\n".join(example(pairs.sources[row], pairs.targets[row], generations[row])) for row in rows]


def example(source: str, reference: str, generated: str) -> list[str]:
    """One text and its summaries, wrapped under their names."""
    parts = {"text": textwrap.shorten(source, EXCERPT, placeholder=" ..."), "reference": reference, "model": generated}
    return [
        line
        for name, text in parts.items()
        for line in textwrap.wrap(f"{name:>9}: {text or '(nothing)'}", WIDTH, subsequent_indent=" " * 11)
    ]


def meaning(reports: dict[str, dict[str, Any]], metrics: dict[str, Any]) -> str:
    """What a newcomer may conclude, and may not."""
    scores = {folder: reports[name]["rouge1"] for folder, name in EVALUATIONS.items()}
    text = MEANING.format(
        steps=metrics["train"][-1]["step"],
        comparison="higher" if scores["first_sentence"] > scores["."] else "lower",
        lost=scores["."] - scores["shuffled_sources"],
    )
    return textwrap.fill(text, WIDTH)


if __name__ == "__main__":
    sys.exit(run_command(ReportArguments, "Print the scores and examples of a quickstart.", print_report))
