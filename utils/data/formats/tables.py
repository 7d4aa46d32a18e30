"""Read tables as a stream of pairs: CSV, TSV, JSON Lines and Parquet.

Row i becomes pair i. A line break within a cell becomes a space, and a missing value an empty text. A value that is not
text is refused with its place in the file.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from bart.errors import InputError

from ..line_files import decode_lines
from . import parquet
from .pair import Columns, Pair, without_line_breaks

# Tried in this order if the columns are not named.
KNOWN_COLUMNS = tuple(
    Columns(*pair.split("/"))
    for pair in (
        "article/highlights", "document/summary", "dialogue/summary", "text/summary", "source/target",
        "article/abstract", "article/summary", "content/summary", "body/summary", "input/target",
    )
)  # fmt: skip
_LONGEST_CELL = 10**8  # characters; limits the memory that a quote without an end takes
_ROWS_LOOKED_AT = 1000  # of JSON Lines, to find the names of the columns
_NAMES_SHOWN = 20  # of columns, in messages
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_JSON_KINDS = (".json", ".jsonl")
_JSON_LINES = "write each row as one object on one line"

Place = str  # of a row in its file, for messages


class AskedColumns(NamedTuple):
    """The columns that --text_column and --summary_column name; None if the flag is not given."""

    text: str | None = None
    summary: str | None = None


def find_columns(path: Path, asked: AskedColumns) -> Columns:
    """Find the columns of the text and of its summary in a table.

    Raises:
        InputError: a named column is missing, or the columns are not named and have no usual names.
    """
    there = column_names(path)
    named = [name for name in asked if name is not None]
    _check_exist(named, there, path)
    if asked.text is not None and asked.summary is not None:
        return Columns(asked.text, asked.summary)
    for pair in KNOWN_COLUMNS:
        fits = asked.text in (None, pair.source) and asked.summary in (None, pair.target)
        if fits and there.count(pair.source) == there.count(pair.target) == 1:
            return pair
    raise InputError(
        f"{path}: which columns are text and summary? Give --text_column and --summary_column; it has {_shown(there)}"
    )


def read_tables(paths: Iterable[Path], columns: Columns) -> Iterator[Pair]:
    """Yield the pairs of all rows of the files in order.

    Raises:
        InputError: a file cannot be read or lacks a column, or a cell is not text. The message names file and row.
    """
    for path in paths:
        for place, source, target in _rows(path, columns):
            yield Pair(cell_text(source, path, place), cell_text(target, path, place))


def find_text_column(path: Path, asked: str | None) -> str:
    """Find the column of the texts in a table that needs no summaries.

    Args:
        path: the table.
        asked: the column that --text_column names. If it is None, the only column, or the first with a usual name.

    Raises:
        InputError: the named column is missing, or no column is named or has a usual name.
    """
    there = column_names(path)
    if asked is not None:
        _check_exist([asked], there, path)
        return asked
    usual = there if len(there) == 1 else (pair.source for pair in KNOWN_COLUMNS if there.count(pair.source) == 1)
    if (column := next(iter(usual), None)) is None:
        raise InputError(f"{path}: which column holds the texts? Give --text_column; it has {_shown(there)}")
    return column


def read_records(path: Path, needed: Sequence[str] | None = None) -> Iterator[tuple[Place, dict[str, object]]]:
    """Yield the place of each row and its values by column, as the file holds them.

    Args:
        path: the table.
        needed: the columns that are needed: of Parquet, the others are not read. None: all.

    Raises:
        InputError: the file cannot be read, or two columns have one name. The message names file and row.
    """
    if _kind(path) in _JSON_KINDS:
        with _open(path) as lines:
            yield from _json_rows(lines, path)
        return
    names = column_names(path)
    needed = names if needed is None else needed
    _check_exist(needed, names, path)
    if _kind(path) == ".parquet":
        for row, cells in parquet.iterate_rows(path, needed):
            yield f"row {row}", dict(zip(needed, cells, strict=True))
        return
    with _open(path) as lines:
        rows = _csv_rows(lines, path)
        next(rows)
        for place, row_cells in rows:
            yield place, dict(zip(names, row_cells, strict=True))


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a table; of JSON Lines those of the first 1,000 rows. Raises InputError."""
    if _kind(path) == ".parquet":
        return parquet.column_names(path)
    with _open(path) as lines:
        if _kind(path) in _JSON_KINDS:
            return _json_names(_first_rows(_json_rows(lines, path), path))
        return next(_csv_rows(lines, path))[1]


def _rows(path: Path, columns: Columns) -> Iterator[tuple[Place, object, object]]:
    """Yield the place of each row, its text and its summary, as the file holds them."""
    if _kind(path) == ".parquet":
        _check_exist(columns, parquet.column_names(path), path)
        yield from ((f"row {row}", source, target) for row, (source, target) in parquet.iterate_rows(path, columns))
        return
    with _open(path) as lines:
        if _kind(path) in _JSON_KINDS:
            objects = _json_rows(lines, path)
            first = _first_rows(objects, path)
            _check_exist(columns, _json_names(first), path)
            for place, row in chain(first, objects):
                yield place, row.get(columns.source), row.get(columns.target)
        else:
            rows = _csv_rows(lines, path)
            _, header = next(rows)
            _check_exist(columns, header, path)
            source, target = map(header.index, columns)
            for place, cells in rows:
                yield place, cells[source], cells[target]


def _csv_rows(lines: Iterator[str], path: Path) -> Iterator[tuple[Place, list[str]]]:
    """Yield the place and the cells of each row, the header first. All rows have equally many cells."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(lines, delimiter=_SEPARATORS[_kind(path)], strict=True)
    begins, width, blank = 1, 0, None  # begins: the first line of a row; blank: the place of an empty row
    try:
        for row, cells in enumerate(reader):
            place, begins = f"row {row} (line {begins})", reader.line_num + 1
            # The header decides how many cells a row must have. Empty rows may only come last.
            width = width or len(cells)
            if width == 0:
                raise InputError(f"{path}: line 1 is empty; it must name the columns")
            if not cells:  # many programs write blank lines at the end
                blank = blank or place
                continue
            if blank is not None:
                raise InputError(f"{path}: {blank} is empty, and rows follow; delete the line or fill its cells")
            if len(cells) != width:
                raise InputError(
                    f"{path}: {place} has {len(cells)} cells, and line 1 names {width} columns; put quotes around a "
                    "cell that holds a separator, and double the quotes in it"
                )
            yield place, cells
    except csv.Error as error:
        raise InputError(f"{path}: the row that begins on line {begins} is broken: {error}; fix its quotes") from error
    if width == 0:
        raise InputError(f"{path}: is empty; line 1 must name the columns")


def _json_rows(lines: Iterator[str], path: Path) -> Iterator[tuple[Place, dict[str, object]]]:
    """Yield the place and the values by column of each row."""
    blank = None  # the number of an empty line
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            blank = blank or number
            continue
        if blank is not None:
            raise InputError(f"{path}: line {blank} is empty, and rows follow; delete it or write {{}} in it")
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise InputError(f"{path}: line {number} is not JSON ({reason}); {_JSON_LINES}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number} is not a JSON object; {_JSON_LINES}")
        yield f"line {number}", row


def _first_rows(rows: Iterator[tuple[Place, dict[str, object]]], path: Path) -> list[tuple[Place, dict[str, object]]]:
    """Take enough rows to find the names of all columns: a row may lack some."""
    first = list(islice(rows, _ROWS_LOOKED_AT))
    if not first:
        raise InputError(f"{path}: is empty; give at least one row")
    return first


def _json_names(rows: Iterable[tuple[Place, dict[str, object]]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(row for _, row in rows)))


@contextmanager
def _open(path: Path) -> Iterator[Iterator[str]]:
    """Yield the lines of a file, decompressed, with their line ends."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield decode_lines(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _kind(path: Path) -> str:
    """Return the suffix of the format, without .gz."""
    return Path(path.name.removesuffix(".gz")).suffix


def _check_exist(names: Iterable[str], there: list[str], path: Path) -> None:
    for name in names:
        if there.count(name) != 1:
            problem = "has no column" if name not in there else "has more than one column"
            raise InputError(
                f"{path}: {problem} {_short(name)}; it has {_shown(there)}; see --text_column and --summary_column"
            )


def _shown(names: list[str]) -> str:
    return ", ".join(_short(name) for name in names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def cell_text(cell: object, path: Path, place: Place) -> str:
    """Return a cell on one line. Raises InputError if it is not text or cannot be a line of a file."""
    if cell is None:
        return ""
    if not isinstance(cell, str):
        shown = _short(json.dumps(cell, default=str))
        raise InputError(f"{path}: {place} holds {shown}, which is not text; write it as text")
    if "\0" in cell:
        raise InputError(f"{path}: {place} holds a NUL character; remove it")
    try:
        cell.encode()
    except UnicodeEncodeError as error:
        surrogate = ord(cell[error.start])
        raise InputError(f"{path}: {place} holds half a character (U+{surrogate:04X}); remove it") from None
    return without_line_breaks(cell)


def _short(name: str) -> str:
    shown = name if name.isprintable() else repr(name)  # with a line break or an invisible character
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
