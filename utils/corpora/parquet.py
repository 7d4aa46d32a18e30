"""Rows of Parquet files as pairs of lines."""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bart.errors import InputError
from utils.corpora.docstring_pairs import Pair

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_SET_OFF_PERIOD = re.compile(r" \.(?=\n|$)")
_ROWS_AT_ONCE = 1000


class Columns(NamedTuple):
    """The names of the columns that hold the text and its summary."""

    source: str
    target: str


def read_pairs(files: Iterable[Path], columns: Columns, prepare_target: Callable[[str], str] = str) -> Iterator[Pair]:
    """The pairs of all rows in order, each text on one line.

    Raises InputError, naming file and row, where a file is no Parquet file, lacks a column or a value.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    for path in files:
        try:
            with ParquetFile(path) as table:
                absent = [name for name in columns if name not in table.schema_arrow.names]
                if absent:
                    raise InputError(f"{path}: no column {absent[0]}; it has {', '.join(table.schema_arrow.names)}")
                row = 0
                for batch in table.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
                    for source, target in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                        row += 1
                        if not isinstance(source, str) or not isinstance(target, str):
                            raise InputError(f"{path}: row {row} has no text in {columns.source} or {columns.target}")
                        yield Pair(on_one_line(source), on_one_line(prepare_target(target)))
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise InputError(f"{path}: cannot be read as Parquet: {error}") from error


def on_one_line(text: str) -> str:
    """The text with a space for every line break."""
    return _LINE_BREAK.sub(" ", text)


def without_set_off_periods(highlights: str) -> str:
    """The hub's copy of CNN-DM ends a highlight with " ." where the story had no period; the reference's with "."."""
    return _SET_OFF_PERIOD.sub(".", highlights)
