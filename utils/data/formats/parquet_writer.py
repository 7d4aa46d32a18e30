"""Write rows with their summaries as Parquet."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pyarrow
import pyarrow.parquet

from bart.errors import InputError

from .parquet import read_schema
from .record_writers import Cells, check_known

_ROWS_AT_ONCE = 1000


class ParquetWriter:
    """Writes rows in groups of 1,000. Without a source that says so, the first group decides on the columns' types."""

    def __init__(self, file: IO[bytes], columns: Sequence[str], summary_column: str, source: Path | None) -> None:
        """Write to an open file. Arguments as for ``open_writer``."""
        self._file, self._columns, self._summary_column = file, columns, summary_column
        self._schema = None if source is None else self._with_summary(read_schema(source))
        self._writer: pyarrow.parquet.ParquetWriter | None = None
        self._rows: list[dict[str, object]] = []
        self._written = 0

    def write(self, cells: Cells, summary: str) -> None:
        """Write a row. Raises InputError if a value is of another type than those before it in its column."""
        check_known(cells, self._columns)
        self._rows.append({**dict.fromkeys(self._columns), **cells, self._summary_column: summary})
        if len(self._rows) == _ROWS_AT_ONCE:
            self._write_rows()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._write_rows()
        if self._writer is not None:
            self._writer.close()

    def _write_rows(self) -> None:
        first, self._written = self._written + 1, self._written + len(self._rows)
        try:
            if self._schema is None:
                self._schema = self._inferred()
            table = pyarrow.Table.from_pylist(self._rows, schema=self._schema)
        except (pyarrow.ArrowException, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"rows {first} to {self._written} do not fit into one Parquet file: {reason}; give --output a name "
                "that ends in .jsonl"
            ) from error
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._file, self._schema)
        self._writer.write_table(table)
        self._rows = []

    def _inferred(self) -> pyarrow.Schema:
        """Infer the types from the first rows; a column without a value holds texts."""
        found = pyarrow.Table.from_pylist(self._rows).schema if self._rows else pyarrow.schema([])
        types = {entry.name: pyarrow.string() if pyarrow.types.is_null(entry.type) else entry.type for entry in found}
        names = [*self._columns, self._summary_column]
        return pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in names])

    def _with_summary(self, schema: pyarrow.Schema) -> pyarrow.Schema:
        return schema.remove_metadata().append(pyarrow.field(self._summary_column, pyarrow.string()))
