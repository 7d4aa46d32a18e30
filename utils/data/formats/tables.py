"""Read tables as a stream of pairs: CSV, TSV, JSON and Parquet.

Row i becomes pair i. A line break within a cell becomes a space, a list of texts one text, and a missing value an empty
text. A value that is not text is refused with its place in the file.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from bart.errors import InputError

from . import parquet
from .json_rows import JSON_KINDS, LONGEST_CELL, Place, Rows, json_rows
from .pair import Columns, Pair, without_line_breaks
from .text_files import kind, open_lines

# Tried in this order if the columns are not named.
KNOWN_COLUMNS = tuple(
    Columns(*pair.split("/"))
    for pair in (
        "article/highlights", "document/summary", "dialogue/summary", "text/summary", "source/target",
        "article/abstract", "article/summary", "content/summary", "body/summary", "input/target",
        "article_text/abstract_text", "dialogue/summary1",
    )
)  # fmt: skip
_ROWS_LOOKED_AT = 1000  # of JSON Lines, to find the names of the columns
_NAMES_SHOWN = 20  # of columns, in messages
_SEPARATORS = {".csv": ",", ".tsv": "\t"}


class AskedColumns(NamedTuple):
    """The columns that --text_column and --summary_column name; None if the flag is not given."""

    text: str | None = None
    summary: str | None = None


def find_columns(path: Path, asked: AskedColumns) -> Columns:
    """Find the columns of the text and of its summary in a table; the names are those that the table has.

    Raises:
        InputError: a named column is missing, or the columns are not named and have no usual names.
    """
    there = column_names(path)
    text, summary = (None if name is None else _found([name], there, path)[0] for name in asked)
    if text is not None and summary is not None:
        return Columns(text, summary)
    for names in _spellings(there):
        for pair in KNOWN_COLUMNS:
            given = zip((text, summary), pair, strict=True)
            fits = all(name is None or names[there.index(name)] == usual for name, usual in given)
            if fits and names.count(pair.source) == names.count(pair.target) == 1:
                return Columns(*(there[names.index(usual)] for usual in pair))
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
        return _found([asked], there, path)[0]
    if len(there) == 1:
        return there[0]
    for names in _spellings(there):
        for pair in KNOWN_COLUMNS:
            if names.count(pair.source) == 1:
                return there[names.index(pair.source)]
    raise InputError(f"{path}: which column holds the texts? Give --text_column; it has {_shown(there)}")


def read_records(path: Path, needed: Sequence[str] | None = None) -> Iterator[tuple[Place, dict[str, object]]]:
    """Yield the place of each row and its values by column, as the file holds them.

    Args:
        path: the table.
        needed: the columns that are needed: of Parquet, the others are not read. None: all.

    Raises:
        InputError: the file cannot be read, or two columns have one name. The message names file and row.
    """
    if kind(path) in JSON_KINDS:
        yield from json_rows(path)
        return
    names = column_names(path)
    needed = _found(names if needed is None else needed, names, path)
    if kind(path) == ".parquet":
        for row, cells in parquet.iterate_rows(path, needed):
            yield f"row {row}", dict(zip(needed, cells, strict=True))
        return
    with open_lines(path) as lines:
        rows = _csv_rows(lines, path)
        next(rows)
        for place, row_cells in rows:
            yield place, dict(zip(names, row_cells, strict=True))


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a table; of JSON those of the first 1,000 rows. Raises InputError."""
    if kind(path) == ".parquet":
        return parquet.column_names(path)
    if kind(path) in JSON_KINDS:
        return _json_names(_first_rows(json_rows(path), path))
    with open_lines(path) as lines:
        return next(_csv_rows(lines, path))[1]


def _rows(path: Path, columns: Columns) -> Iterator[tuple[Place, object, object]]:
    """Yield the place of each row, its text and its summary, as the file holds them."""
    if kind(path) == ".parquet":
        names = _found(columns, parquet.column_names(path), path)
        yield from ((f"row {row}", source, target) for row, (source, target) in parquet.iterate_rows(path, names))
    elif kind(path) in JSON_KINDS:
        objects = json_rows(path)
        first = _first_rows(objects, path)
        source, target = _found(columns, _json_names(first), path)
        for place, row in chain(first, objects):
            yield place, row.get(source), row.get(target)
    else:
        with open_lines(path) as lines:
            rows = _csv_rows(lines, path)
            _, header = next(rows)
            source_at, target_at = map(header.index, _found(columns, header, path))
            for place, cells in rows:
                yield place, cells[source_at], cells[target_at]


def _csv_rows(lines: Iterator[str], path: Path) -> Iterator[tuple[Place, list[str]]]:
    """Yield the place and the cells of each row, the header first. All rows have equally many cells."""
    csv.field_size_limit(LONGEST_CELL)
    header = list(islice(lines, 1))
    reader = csv.reader(chain(header, lines), delimiter=_separator(header, path), strict=True)
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


def _separator(header: list[str], path: Path) -> str:
    """Return what separates the cells: in .csv a semicolon, if the first line has columns by it but none by commas."""
    usual = _SEPARATORS[kind(path)]
    if usual == "," and _cells(header, ",") < 2 <= _cells(header, ";"):
        return ";"
    return usual


def _cells(header: list[str], separator: str) -> int:
    """Count the cells of a first line; 0 if it is none by itself with this separator."""
    try:
        return len(next(csv.reader(header, delimiter=separator, strict=True), []))
    except csv.Error:
        return 0


def _first_rows(rows: Rows, path: Path) -> list[tuple[Place, dict[str, object]]]:
    """Take enough rows to find the names of all columns: a row may lack some."""
    first = list(islice(rows, _ROWS_LOOKED_AT))
    if not first:
        raise InputError(f"{path}: is empty; give at least one row")
    return first


def _json_names(rows: Iterable[tuple[Place, dict[str, object]]]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(row for _, row in rows)))


def _found(names: Iterable[str], there: list[str], path: Path) -> list[str]:
    """Return these columns under the names that the table has: in another case, or with spaces around, if need be.

    Raises InputError if one is missing, or there more than once.
    """
    found = []
    for name in names:
        same = [other for other in there if other == name] or [
            other for other in there if _loosely(other) == _loosely(name)
        ]
        if len(same) != 1:
            problem = "has more than one column" if same else "has no column"
            raise InputError(
                f"{path}: {problem} {_short(name)}; it has {_shown(there)}; see --text_column and --summary_column"
            )
        found += same
    return found


def _spellings(names: list[str]) -> tuple[list[str], list[str]]:
    """Return names as they are written, then in any case and without spaces around them."""
    return names, [_loosely(name) for name in names]


def _loosely(name: str) -> str:
    return name.strip(" ").casefold()


def _shown(names: list[str]) -> str:
    return ", ".join(_short(name) for name in names[:_NAMES_SHOWN]) + (", ..." if len(names) > _NAMES_SHOWN else "")


def cell_text(cell: object, path: Path, place: Place) -> str:
    """Return a cell on one line: a text, or texts such as sentences, which are joined by spaces.

    Raises InputError if it is something else, or cannot be a line of a file.
    """
    if cell is None:
        return ""
    if isinstance(cell, list) and all(isinstance(text, str) for text in cell):
        cell = " ".join(cell)
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
