"""Write a data folder whose training summaries are those of a teacher, to fine-tune a student on them.

bash scripts/pseudo_labels.sh results/labels data/cnn_dm data/cnn_dm_labels
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ..cli.options import option
from ..cli.run import run_command
from ..cli.shared_args import DATA_DIR_HELP, SPLIT_HELP, shares_of, three_shares
from ..data.formats.tables import AskedColumns


@dataclass(frozen=True)
class PseudoLabelArguments:
    results: str = option("", "Data", "results folder of the teacher's evaluation of the train split", positional=True)
    data_dir: str = option("", "Data", f"the data that were evaluated: {DATA_DIR_HELP}", positional=True)
    folder: str = option("", "Data", "data folder to write, which must not be there yet", positional=True)
    text_column: str | None = option(None, "Data", "column of the texts, if the data are tables")
    summary_column: str | None = option(None, "Data", "column of the summaries, if the data are tables")
    split: str | None = option(None, "Data", SPLIT_HELP, check=three_shares)

    def check(self) -> None:
        """Nothing to check together."""


def write(arguments: PseudoLabelArguments) -> None:
    """Write the folder. Raises InputError if the evaluation or the data cannot be used, or if the folder exists."""
    # What reads data takes seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.pseudo_labels import write_pseudo_labels

    columns = AskedColumns(arguments.text_column, arguments.summary_column)
    results, folder, shares = Path(arguments.results), Path(arguments.folder), shares_of(arguments.split)
    said = write_pseudo_labels(results, arguments.data_dir, columns, folder, shares)
    print(f"Wrote {arguments.folder}: {said}.")


if __name__ == "__main__":
    sys.exit(run_command(PseudoLabelArguments, "Write a data folder with a teacher's summaries.", write))
