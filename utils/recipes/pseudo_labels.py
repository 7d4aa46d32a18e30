"""Pseudo-labels: an evaluation of the training split in, a data folder with the teacher's summaries as targets out."""

import shutil
from pathlib import Path

from bart.atomic_directory import atomic_directory
from bart.errors import InputError

from ..cli.shared_args import Shares
from ..data.divided import DividedData, open_splits
from ..data.formats.tables import AskedColumns
from ..data.line_files import LineFile, iterate_lines, read_lines, scan
from ..data.sources import DataFolder, HubData
from ..data.splits import line_file
from ..evaluation.journal import texts_digest
from ..io.json_files import read_json
from ..io.run_files import generations_file, key_file, report_file

_LABELLED = "train"
_AS_THEY_ARE = ("val", "test")


def write_pseudo_labels(
    results: Path, data_dir: str, columns: AskedColumns, folder: Path, shares: Shares | None = None
) -> str:
    """Write a data folder like ``data_dir``, with the summaries of an evaluation as targets of the training split.

    A summary that is empty stays an empty line, so that no later line moves; a training leaves such a pair out.

    Args:
        results: The results folder of the evaluation.
        data_dir: The data whose training split was evaluated.
        columns: The columns of text and summary, if the data are tables.
        folder: The folder to write, which must not be there yet; complete or not at all.
        shares: Those of --split, if the evaluation was given it.

    Returns:
        A line for people: how many targets there are, and how many of them are empty.

    Raises:
        InputError: The evaluation is missing, unfinished or one of other texts; the data cannot be read; or ``folder``
            exists.
    """
    if folder.exists():
        raise InputError(f"{folder} exists; give a new folder")
    data = open_splits(data_dir, columns, shares)
    data.check_has([_LABELLED])
    sources = line_file(data.lines_of(_LABELLED), _LABELLED, "source")
    labels = _labels_of(results, sources)
    with atomic_directory(folder) as partial:
        shutil.copyfile(sources, partial / f"{_LABELLED}.source")
        shutil.copyfile(labels.path, partial / f"{_LABELLED}.target")
        for split in _AS_THEY_ARE:
            _copy(data, split, partial)
    empty = sum(not line.strip() for line in iterate_lines(folder / f"{_LABELLED}.target"))
    left_out = f", {empty:,} of them empty, which a training leaves out" if empty else ""
    return f"{labels.lines:,} summaries of {results} as {_LABELLED}.target{left_out}"


def _labels_of(results: Path, sources: Path) -> LineFile:
    """Return the summaries of an evaluation. Raises InputError if line i of both files is not one example."""
    path = results / generations_file(_LABELLED)
    if not path.is_file():
        raise InputError(
            f"{path}: No such file or directory; let the teacher summarize the split first: "
            f"RESULTS_DIR={results} bash scripts/run_eval_summarization.sh ... --type_path {_LABELLED} --resume"
        )
    labels, texts = scan(path), read_lines(sources)
    if labels.lines != len(texts):
        raise InputError(f"{path} has {labels.lines} lines, {sources} has {len(texts)}; evaluate the whole split")
    evaluation = _evaluation_of(path)
    if read_json(evaluation).get("key", {}).get("texts") != texts_digest(texts):
        raise InputError(
            f"{evaluation}: is of an evaluation of other texts than {sources}; evaluate these, without --n_obs"
        )
    return labels


def _evaluation_of(generations: Path) -> Path:
    """Return the file that says which texts were summarized. Raises InputError if there is none."""
    names = report_file(_LABELLED), key_file(_LABELLED)  # the second one if the split has no targets
    for name in names:
        if (generations.parent / name).is_file():
            return generations.parent / name
    raise InputError(
        f"{generations}: neither {' nor '.join(names)} beside it says which texts were summarized; evaluate the split "
        "again, with --resume"
    )


def _copy(data: DataFolder | HubData | DividedData, split: str, folder: Path) -> None:
    """Copy the line files of a split, as far as they are there."""
    for side in ("source", "target") if data.has(split) else ():
        path = line_file(data.lines_of(split), split, side)
        if path.is_file():
            shutil.copyfile(path, folder / f"{split}.{side}")
