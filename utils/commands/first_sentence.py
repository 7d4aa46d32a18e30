"""Take the first sentence of every source as its summary, and write and score it as an evaluation does.

python -m utils.commands.first_sentence data/docstrings results/first_sentence
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import nupunkt

from ..cli.options import option
from ..cli.run import run_command
from ..cli.shared_args import DATA_DIR_HELP, RougeLsumSettings, TableSettings, shares_of
from ..data.divided import read_split
from ..data.formats.tables import AskedColumns
from ..evaluation.rouge import bootstrap_intervals, example_scores, mean_scores, scorer_description
from ..evaluation.score_files import write_example_scores
from ..io.atomic_files import atomic_write
from ..io.json_files import write_json
from ..io.run_files import generations_file, report_file


@dataclass(frozen=True)
class FirstSentenceArguments:
    data_dir: str = option("", "data", DATA_DIR_HELP, positional=True)
    save_path: str = option("", "data", "folder to write to", positional=True)
    tables: TableSettings = field(default_factory=TableSettings)
    rouge: RougeLsumSettings = field(default_factory=RougeLsumSettings)

    def check(self) -> None:
        """Nothing to check together."""


def first_sentence(text: str) -> str:
    """Return the first sentence by nupunkt, or "" if the text has none."""
    return str(next(iter(nupunkt.sent_tokenize(text)), ""))


def evaluate_first_sentences(arguments: FirstSentenceArguments) -> None:
    """Write test_generations.txt, test_example_scores.json and test_rouge.json.

    Raises InputError if the test split cannot be read.
    """
    tables, rouge = arguments.tables, arguments.rouge
    columns = AskedColumns(tables.text_column, tables.summary_column)
    pairs = read_split(arguments.data_dir, "test", columns, shares_of(tables.split))
    sentences = [first_sentence(source) for source in pairs.sources]
    folder = Path(arguments.save_path)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / generations_file("test")) as file:
        file.writelines(f"{sentence}\n" for sentence in sentences)
    how = {"splitter": rouge.rouge_sentence_splitter, "tokenizer": rouge.rouge_tokenizer}
    scores = example_scores(sentences, pairs.targets, **how)
    write_example_scores(folder, "test", pairs.targets, scores)
    report = {
        **mean_scores(scores),
        "intervals_95": bootstrap_intervals(scores),
        "scorer": scorer_description(**how),
        "split": "test",
        "n_obs": len(pairs),
        "model": f"first sentence by nupunkt {nupunkt.__version__}",
    }
    write_json(folder / report_file("test"), report)


if __name__ == "__main__":
    description = "Score the first sentence of every source as its summary."
    sys.exit(run_command(FirstSentenceArguments, description, evaluate_first_sentences))
