"""Write results.html of a results folder anew, with the evaluations that have been added since:

python -m utils.commands.rewrite_pages results/bart_pyt_<timestamp>
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError

from ..cli.options import option
from ..cli.run import run_command
from ..cli.shared_args import shares_of
from ..data.divided import read_split
from ..data.formats.tables import AskedColumns
from ..data.line_files import read_lines
from ..data.splits import Pairs, deranged
from ..evaluation.examples import ScoredExamples
from ..evaluation.rouge import example_scores, splitter_of, tokenizer_of
from ..io.json_files import read_json
from ..io.run_files import PAGE_FILE, generations_file, report_file
from ..reporting.results_page.page import write_page
from ..runtime.processor import processor_cores


@dataclass(frozen=True)
class PageArguments:
    results: str = option("", "page", "results folder of a training or an evaluation", positional=True)
    split: str = option("test", "page", "split whose examples to show", choices=("train", "val", "test"))
    data_dir: str | None = option(
        None, "page", "folder or hub data set with the texts (default: the one that was evaluated)"
    )
    text_column: str | None = option(None, "page", "column of the texts in tables (default: a usual name)")
    summary_column: str | None = option(None, "page", "column of the summaries in tables (default: a usual name)")

    def check(self) -> None:
        """Nothing to check together."""


def write_again(arguments: PageArguments) -> Path:
    """Write the page from the files of the results folder; returns its path. Raises InputError if one is unusable."""
    folder = Path(arguments.results)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the results folder of a run")
    path = folder / report_file(arguments.split)
    if path.exists():
        report = read_json(path)
        write_page(folder, report, _scored_examples(*read_evaluated(arguments, report), report))
    else:
        write_page(folder)
    return folder / PAGE_FILE


def read_evaluated(arguments: PageArguments, report: dict[str, Any]) -> tuple[Pairs, list[str]]:
    """Read the pairs of an evaluation and its summaries, line by line.

    Raises InputError if they cannot be read, or if there are not as many of each.
    """
    folder, split = Path(arguments.results), arguments.split
    data_dir = arguments.data_dir or report.get("data_dir")
    if data_dir is None:
        raise InputError(f"{folder}: its report does not name the folder of its texts; give --data_dir")
    columns = AskedColumns(arguments.text_column, arguments.summary_column)
    pairs = read_split(data_dir, split, columns, shares_of(report.get("data_split")), report["n_obs"])
    generations = read_lines(folder / generations_file(split))
    if len(generations) != len(pairs):
        raise InputError(
            f"--data_dir {data_dir}: has {len(pairs):,} texts, but {folder} has {len(generations):,} summaries; "
            "give the data of that evaluation"
        )
    return pairs, generations


def _scored_examples(pairs: Pairs, generations: list[str], report: dict[str, Any]) -> ScoredExamples:
    sources = deranged(pairs.sources, report["seed"]) if report.get("shuffled_sources") else pairs.sources
    scorer = report["scorer"]
    how = splitter_of(scorer), processor_cores(), tokenizer_of(scorer)
    scores = example_scores(generations, pairs.targets, *how)
    rows = None if pairs.rows is None else pairs.rows.numbers
    return ScoredExamples(sources, pairs.targets, generations, scores, rows)


if __name__ == "__main__":
    description = "Write the page of a results folder anew."
    sys.exit(run_command(PageArguments, description, lambda arguments: print(f"wrote {write_again(arguments)}")))
