"""Write rows with their summaries as Parquet."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pyarrow
import pyarrow.parquet

from bart.errors import InputError

from .parquet import joint_schema
from .record_writers import Cells, check_known

_ROWS_AT_ONCE = 1000


class ParquetWriter:
    """Writes rows in groups of 1,000. Without sources that say so, the first group decides on the columns' types.

    After an error, the file is completed with the rows so far: it can be read.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[str], summary_column: str, sources: Sequence[Path]) -> None:
        """Write to an open file. Arguments as for ``open_writer``."""
        self._file, self._columns, self._summary_column = file, columns, summary_column
        self._schema = self._with_summary(joint_schema(sources)) if sources else None
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
        try:
            if error is None or self._rows:
                self._write_rows()
        except InputError:
            if error is None:  # else that is the one to tell
                raise
        finally:
            if self._writer is not None:
                self._writer.close()

    def _write_rows(self) -> None:
        first, last = self._written + 1, self._written + len(self._rows)
        try:
            if self._schema is None:
                self._schema = self._inferred()
            table = pyarrow.Table.from_pylist(self._rows, schema=self._schema)
        except (pyarrow.ArrowException, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"rows {first} to {last} do not fit into one Parquet file: {reason}; the {first - 1} before them are "
                "kept; give --output a name that ends in .jsonl"
            ) from error
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._file, self._schema)
        self._writer.write_table(table)
        self._rows, self._written = [], last

    def _inferred(self) -> pyarrow.Schema:
        """Infer the types from the first rows; a column without a value holds texts."""
        found = pyarrow.Table.from_pylist(self._rows).schema if self._rows else pyarrow.schema([])
        types = {entry.name: pyarrow.string() if pyarrow.types.is_null(entry.type) else entry.type for entry in found}
        names = [*self._columns, self._summary_column]
        return pyarrow.schema([(name, types.get(name, pyarrow.string())) for name in names])

    def _with_summary(self, schema: pyarrow.Schema) -> pyarrow.Schema:
        return schema.append(pyarrow.field(self._summary_column, pyarrow.string()))
