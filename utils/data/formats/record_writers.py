"""Write records, each a row with its summary, as text, CSV, TSV, JSON Lines or Parquet."""

import csv
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

from bart.errors import InputError

from ...io.atomic_files import failure_of_writing, sync_folder

_DELIMITERS = {".csv": ",", ".tsv": "\t"}

Cells = Mapping[str, object]  # of a row, by column


class RecordWriter(Protocol):
    """Writes rows, one after another."""

    def write(self, cells: Cells, summary: str) -> None:
        """Write a row. Raises InputError if the file cannot hold it."""


class TextWriter:
    """Writes the summaries alone, one a line."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, cells: Cells, summary: str) -> None:
        """Write the summary. It is on its way when this returns: whoever reads a pipe has it."""
        print(summary, file=self._file, flush=True)


class JsonLinesWriter:
    """Writes an object a line: the row and its summary."""

    def __init__(self, file: IO[str], summary_column: str) -> None:
        self._file, self._summary_column = file, summary_column

    def write(self, cells: Cells, summary: str) -> None:
        """Write a row; values that JSON does not have, such as dates, are written as texts."""
        if self._summary_column in cells:
            raise InputError(
                f"a row has a column {self._summary_column}, which the first rows lack; give --summary_column another "
                "name"
            )
        row = {**cells, self._summary_column: summary}
        print(json.dumps(row, ensure_ascii=False, default=str), file=self._file, flush=True)


class DelimitedWriter:
    """Writes CSV or TSV, with a header."""

    def __init__(self, file: IO[str], columns: Sequence[str], summary_column: str, delimiter: str) -> None:
        self._file, self._columns = file, columns
        self._writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        self._writer.writerow([*columns, summary_column])

    def write(self, cells: Cells, summary: str) -> None:
        """Write a row; a missing value is an empty cell, and what is no text is written as JSON."""
        check_known(cells, self._columns)
        self._writer.writerow([*(_cell(cells.get(name)) for name in self._columns), summary])
        self._file.flush()


@contextmanager
def open_writer(
    path: Path, columns: Sequence[str], summary_column: str, parquet_sources: Sequence[Path]
) -> Iterator[RecordWriter]:
    """Yield a writer of the format that the suffix of a file names.

    It grows as ``<path>.part``, and takes its name when it is complete. If it is not completed, that file stays: every
    row that was written is in it. Parquet is completed after an error, too, but cannot be read after a kill.

    Args:
        path: the file to write, or to replace.
        columns: of the rows.
        summary_column: the name of the column of summaries, which none of ``columns`` has.
        parquet_sources: the files that the rows come from, if all are Parquet: their types are those of the new one.

    Raises:
        InputError: the file cannot be written, or what an earlier program did not complete is still there.
    """
    if path.suffix == ".parquet":
        from .parquet_writer import ParquetWriter  # pyarrow takes a while to import

        with _growing(path, "xb") as file, ParquetWriter(file, columns, summary_column, parquet_sources) as writer:
            yield writer
        return
    with _growing(path, "x", encoding="utf-8", newline="") as file:
        if path.suffix == ".txt":
            yield TextWriter(file)
        elif path.suffix == ".jsonl":
            yield JsonLinesWriter(file, summary_column)
        else:
            yield DelimitedWriter(file, columns, summary_column, _DELIMITERS[path.suffix])


def part_of(path: Path) -> Path:
    """Return the name of a file that is not complete yet."""
    return path.with_name(f"{path.name}.part")


@contextmanager
def _growing(path: Path, mode: str, **text: str) -> Iterator[IO[Any]]:
    """Open ``<path>.part``, which becomes ``path`` when the block ends without an error, and else stays as it is."""
    part = part_of(path)
    with failure_of_writing(path):
        try:
            file = part.open(mode, **text)
        except FileExistsError:
            raise InputError(f"{part}: is there from a run that was not completed; move or delete it") from None
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
            sync_folder(path.parent)
        except BaseException:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()
            elif part.exists():
                print(f"{part}: holds what was done", file=sys.stderr)
            raise


def check_known(cells: Cells, columns: Sequence[str]) -> None:
    """Raise InputError if a row has a value in a column that the first rows do not have."""
    if unknown := [name for name in cells if name not in columns]:
        raise InputError(
            f"a row has a column {unknown[0]}, which the first rows lack; write it there too, or give --output a "
            "name that ends in .jsonl"
        )


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)
