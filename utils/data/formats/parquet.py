"""Read rows of Parquet files as pairs of lines. Pyarrow takes a while to import, so only what opens a file does."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bart.errors import InputError

from .pair import Columns, Pair, without_line_breaks

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import ParquetFile

_SET_OFF_PERIOD = re.compile(r" \.(?=\n|$)")
_ROWS_AT_ONCE = 1000


def read_pairs(files: Iterable[Path], columns: Columns, prepare_target: Callable[[str], str] = str) -> Iterator[Pair]:
    """Yield the pairs of all rows in order, each text on one line.

    Args:
        files: Parquet files.
        columns: the columns of the text and its summary.
        prepare_target: changes a summary before its line breaks are removed.

    Raises:
        InputError: a file is not Parquet, lacks a column or a value. The message names the file and the row.
    """
    for path in files:
        for row, (source, target) in iterate_rows(path, columns):
            if not isinstance(source, str) or not isinstance(target, str):
                raise InputError(f"{path}: row {row} has no text in {columns.source} or {columns.target}")
            yield Pair(without_line_breaks(source), without_line_breaks(prepare_target(target)))


def column_names(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file. Raises InputError if it is not one."""
    with _open(path) as table:
        return list(table.schema_arrow.names)


def joint_schema(paths: Sequence[Path]) -> "pyarrow.Schema":
    """Return the columns of all these Parquet files, each of a type that holds the values of all.

    Raises:
        InputError: a file is not Parquet, or a column has types that no type holds, such as numbers and texts.
    """
    import pyarrow

    joint = pyarrow.schema([])
    for path in paths:
        with _open(path) as table:
            schema = table.schema_arrow.remove_metadata()
        try:
            joint = pyarrow.unify_schemas([joint, schema], promote_options="permissive")
        except pyarrow.ArrowException as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path}: does not fit into one Parquet file with {paths[0]}: {reason}; give --output a name that ends "
                "in .jsonl"
            ) from error
    return joint


def iterate_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[object, ...]]]:
    """Yield the number of each row, from 1, and its cells in these columns; a missing value is None.

    Raises:
        InputError: the file is not Parquet or lacks a column, or a cell has no Python value: a text that is not UTF-8,
            or a time with nanoseconds. The message names it.
    """
    with _open(path) as table:
        absent = [name for name in columns if name not in table.schema_arrow.names]
        if absent:
            raise InputError(f"{path}: no column {absent[0]}; it has {', '.join(table.schema_arrow.names)}")
        passed = 0
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
            cells = (_cells(batch[name], name, path, passed) for name in columns)
            yield from enumerate(zip(*cells, strict=True), start=passed + 1)
            passed += len(batch)


@contextmanager
def _open(path: Path) -> Iterator["ParquetFile"]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as table:
            yield table
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())  # Arrow's messages may have several lines
        raise InputError(f"{path}: cannot be read as Parquet: {reason}") from error


def _cells(column: "pyarrow.Array", name: str, path: Path, rows_before: int) -> list[object]:
    """Convert a column to Python values. Raises InputError if one has none.

    Parquet does not guarantee that texts are UTF-8; and its times may be finer than Python's microseconds, or later
    than the year 9999.
    """
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):  # UnicodeDecodeError is a ValueError
        for row, cell in enumerate(column, start=rows_before + 1):
            try:
                cell.as_py()
            except UnicodeDecodeError:
                raise InputError(f"{path}: row {row} is not UTF-8; convert the texts to UTF-8") from None
            except (ValueError, OverflowError):
                raise InputError(
                    f"{path}: row {row} has in {name} a {column.type} that is no whole number of microseconds or too "
                    "large; round it, or leave out the column"
                ) from None
        raise


def without_set_off_periods(highlights: str) -> str:
    """Replace " ." by "." at the end of each highlight.

    The hub's copy of CNN-DM adds " ." to highlights without a period; the reference's copy adds ".".
    """
    return _SET_OFF_PERIOD.sub(".", highlights)
