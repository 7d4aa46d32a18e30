"""Take the first sentence of every source as its summary, and write and score it as an evaluation does.

python -m utils.commands.first_sentence data/docstrings results/first_sentence
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import nupunkt

from ..cli.options import option
from ..cli.run import run_command
from ..cli.shared_args import RougeSettings
from ..data.splits import read_pairs
from ..evaluation.rouge import bootstrap_intervals, example_scores, mean_scores, scorer_description
from ..io.atomic_files import atomic_write
from ..io.json_files import write_json
from ..io.run_files import generations_file, report_file


@dataclass(frozen=True)
class FirstSentenceArguments:
    data_dir: str = option("", "Data", "folder of {train,val,test}.{source,target}", positional=True)
    save_path: str = option("", "Data", "folder to write to", positional=True)
    rouge: RougeSettings = field(default_factory=RougeSettings)

    def check(self) -> None:
        """Nothing to check together."""


def first_sentence(text: str) -> str:
    """Return the first sentence by nupunkt, or "" if the text has none."""
    return str(next(iter(nupunkt.sent_tokenize(text)), ""))


def evaluate_first_sentences(arguments: FirstSentenceArguments) -> None:
    """Write test_generations.txt and test_rouge.json. Raises InputError if the test split cannot be read."""
    pairs = read_pairs(arguments.data_dir, "test")
    sentences = [first_sentence(source) for source in pairs.sources]
    folder = Path(arguments.save_path)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / generations_file("test")) as file:
        file.writelines(f"{sentence}\n" for sentence in sentences)
    tokenizer = arguments.rouge.rouge_tokenizer
    scores = example_scores(sentences, pairs.targets, tokenizer=tokenizer)
    report = {
        **mean_scores(scores),
        "intervals_95": bootstrap_intervals(scores),
        "scorer": scorer_description(tokenizer=tokenizer),
        "split": "test",
        "n_obs": len(pairs),
        "model": f"first sentence by nupunkt {nupunkt.__version__}",
    }
    write_json(folder / report_file("test"), report)


if __name__ == "__main__":
    description = "Score the first sentence of every source as its summary."
    sys.exit(run_command(FirstSentenceArguments, description, evaluate_first_sentences))
