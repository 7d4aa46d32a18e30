"""Read the rows of JSON files as a stream.

A file is JSON Lines, with an object on each line. One whose name ends in .json may also be an array of objects, or an
object with such an array under ``data``, on one line or on many.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bart.errors import InputError

from .text_files import kind, open_lines, text_blocks

JSON_KINDS = (".json", ".jsonl")
LONGEST_CELL = 10**8  # characters; limits the memory that a quote without an end takes
_JSON_LINES = "each row as one object on one line"
_ARRAY = "write a list of objects"
_ROWS_KEY = "data"
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_LONGEST_WORD = 16  # characters: no word or escape of JSON, such as -Infinity, has more

Place = str  # of a row in its file, for messages
Rows = Iterator[tuple[Place, dict[str, object]]]


def json_rows(path: Path) -> Rows:
    """Yield the place and the values by column of each row.

    Raises:
        InputError: the file is not JSON, or a row is no object. The message names file and line.
    """
    if kind(path) == ".json":
        text = _Text(path)
        begins = text.peek()
        if begins == "[":
            yield from _array_rows(text)
            text.check_ends()
            return
        if begins == "{" and not _is_json_lines(path):
            yield from _rows_under_key(text)
            text.check_ends()
            return
    yield from _json_lines(path)


def _is_json_lines(path: Path) -> bool:
    """Tell whether a file that begins with an object has one on each line, and is not one object with rows in it."""
    with open_lines(path) as lines:
        written = (line for line in lines if line.strip())
        first, others = next(written), next(written, None)
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):  # the object goes on, or is broken
        return False
    rows = row.get(_ROWS_KEY) if isinstance(row, dict) else None
    return others is not None or not isinstance(rows, list) or not all(isinstance(inner, dict) for inner in rows)


def _json_lines(path: Path) -> Rows:
    blank = None  # the number of an empty line
    with open_lines(path) as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                blank = blank or number
                continue
            if blank is not None:
                raise InputError(f"{path}: line {blank} is empty, and rows follow; delete it or write {{}} in it")
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
                raise InputError(f"{path}: line {number} is not JSON ({reason}); write {_JSON_LINES}") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is not a JSON object; write {_JSON_LINES}")
            yield f"line {number}", row


def _array_rows(text: "_Text") -> Rows:
    """Yield the rows of an array, whose bracket comes next."""
    text.take("[")
    number, follows = 0, text.peek()
    while follows != "]":
        number += 1
        text.peek()
        place = f"row {number} (line {text.line})"
        row = text.value()
        if not isinstance(row, dict):
            raise InputError(f"{text.path}: {place} is not a JSON object; {_ARRAY}")
        yield place, row
        if (follows := text.peek()) != "]":
            text.take(",")
    text.take("]")


def _rows_under_key(text: "_Text") -> Rows:
    """Yield the rows of an object that has them under ``data``, whose brace comes next."""
    text.take("{")
    found, follows = False, text.peek()
    while follows != "}":
        if text.peek() != '"':
            raise text.fault("Expecting property name enclosed in double quotes")
        key = text.value()
        text.take(":")
        if key == _ROWS_KEY and text.peek() == "[":
            if found:
                raise text.fault(f"{_ROWS_KEY} is there twice")
            found = True
            yield from _array_rows(text)
        else:
            text.value()
        if (follows := text.peek()) != "}":
            text.take(",")
    text.take("}")
    if not found:
        raise InputError(
            f"{text.path}: holds a JSON object without a list of rows under `{_ROWS_KEY}`; {_ARRAY}, or {_JSON_LINES}"
        )


class _Text:
    """The text of a JSON file, of which no more is in memory than the next value takes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 1  # of the place that is read
        self._blocks = text_blocks(path)
        self._buffer, self._at = "", 0
        self._line_begins = 0  # in the buffer; negative if before it

    def peek(self) -> str:
        """Pass over white space, and return the next character, or "" at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            assert space is not None
            self._advance(space.end())
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._read_more():
                return ""

    def take(self, character: str) -> None:
        """Pass over white space and this character. Raises InputError if another one comes."""
        if self.peek() != character:
            raise self.fault(f"Expecting '{character}'")
        self._advance(self._at + 1)

    def value(self) -> object:
        """Read the next value. Raises InputError if it is not JSON."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                ends_early = error.msg.startswith("Unterminated") or error.pos > len(self._buffer) - _LONGEST_WORD
                if not (ends_early and self._read_more()):
                    raise self.fault(error.msg, error.pos) from None
            except (ValueError, RecursionError) as error:
                raise self.fault(str(error)) from None
            else:
                if end == len(self._buffer) and self._read_more():  # a number may go on
                    continue
                self._advance(end)
                return value

    def check_ends(self) -> None:
        """Raise InputError if anything but white space comes."""
        if self.peek():
            raise self.fault("Extra data")

    def fault(self, problem: str, position: int | None = None) -> InputError:
        """Return an error that names the line and the column of a position, by default of the next character."""
        position = self._at if position is None else position
        line = self.line + self._buffer.count("\n", self._at, position)
        begins = self._buffer.rfind("\n", self._at, position) + 1 or self._line_begins
        place = f"line {line} is not JSON ({problem} at column {position - begins + 1})"
        return InputError(f"{self.path}: {place}; {_ARRAY}, or {_JSON_LINES}")

    def _advance(self, position: int) -> None:
        breaks = self._buffer.count("\n", self._at, position)
        if breaks:
            self.line += breaks
            self._line_begins = self._buffer.rindex("\n", self._at, position) + 1
        self._at = position

    def _read_more(self) -> bool:
        """Forget what was read, and double the rest. Returns False at the end of the file."""
        if len(self._buffer) - self._at > LONGEST_CELL:
            raise InputError(
                f"{self.path}: the row that begins on line {self.line} has more than {LONGEST_CELL:,} characters; does"
                " a quote or a bracket lack its end?"
            )
        parts = [self._buffer[self._at :]]
        wanted = max(1, len(parts[0]))
        while wanted > 0 and (block := next(self._blocks, "")):
            parts.append(block)
            wanted -= len(block)
        if len(parts) == 1:
            return False
        self._line_begins -= self._at
        self._buffer, self._at = "".join(parts), 0
        return True
