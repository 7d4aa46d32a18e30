"""Read texts to summarize: from files of lines, from files that are one text, from tables, and from a pipe."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from bart.errors import InputError

from .formats.table_names import is_table
from .formats.tables import cell_text, column_names, find_text_column, read_records
from .line_files import iterate_stream

_STDIN = 0  # the number of its descriptor
_ADVICE = "give a file with a text on each line, a table, or - for stdin"


class Record(NamedTuple):
    """A text, and the row that it comes from."""

    text: str
    cells: dict[str, object]  # by column


@dataclass(frozen=True)
class TextInput:
    """A file of texts."""

    path: Path | None  # None is standard input
    one_text: bool  # all its lines are one text
    text_column: str | None  # of a table
    columns: list[str]  # of its rows

    @property
    def name(self) -> str:
        """The name for messages."""
        return "standard input" if self.path is None else str(self.path)

    @property
    def is_parquet(self) -> bool:
        """Whether it is read as a Parquet table."""
        return self.text_column is not None and self.path is not None and self.path.suffix == ".parquet"

    def waits(self) -> bool:
        """Tell whether reading may wait for another program, or for somebody who types."""
        return not stat.S_ISREG((os.fstat(_STDIN) if self.path is None else self.path.stat()).st_mode)

    def records(self, whole_rows: bool = True) -> Iterator[Record]:
        """Yield the texts, each as soon as it is read.

        Args:
            whole_rows: give all columns, not the text alone, which is read faster from Parquet.

        Raises:
            InputError: one cannot be read.
        """
        if self.text_column is not None and self.path is not None:
            for place, cells in read_records(self.path, None if whole_rows else [self.text_column]):
                yield Record(cell_text(cells.get(self.text_column), self.path, place), cells)
            return
        with _open(self.path) as stream:
            lines = iterate_stream(stream, self.name)
            for text in [" ".join(lines)] if self.one_text else lines:
                yield Record(text, {"text": text})


def find_input(name: str, text_column: str | None, one_text: bool) -> TextInput:
    """Look at a file without reading its texts.

    Args:
        name: of the file; ``-`` is standard input.
        text_column: the column of the texts that the user has named, if it is a table.
        one_text: read it as one text.

    Raises:
        InputError: it cannot be read, or has no such column.
    """
    path = None if name == "-" else Path(name)
    if path is None and sys.stdin is None:  # Python's word for a descriptor that was closed
        raise InputError(f"-: standard input is closed; {_ADVICE}")
    if path is not None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}; {_ADVICE}") from error
        if stat.S_ISDIR(mode):
            raise InputError(f"{name}: is a folder; {_ADVICE}")
        if not stat.S_ISREG(mode) and not one_text and is_table(path.name):
            raise InputError(f"{name}: is no regular file, and a table is read more than once; give a file")
    if path is None or one_text or not is_table(path.name):
        return TextInput(path, one_text, None, ["text"])
    return TextInput(path, False, find_text_column(path, text_column), column_names(path))


@contextmanager
def _open(path: Path | None) -> Iterator[IO[bytes]]:
    # Not sys.stdin: Python closes that when it ends, and dies of it if a thread still waits for a line.
    try:
        stream = open(_STDIN, "rb", closefd=False) if path is None else path.open("rb")  # noqa: SIM115  closed below
    except OSError as error:
        raise InputError(f"{path or 'standard input'}: {error.strerror}; {_ADVICE}") from error
    with stream:
        yield stream
