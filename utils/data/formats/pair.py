"""The text form of an example, and the columns of tables that hold it."""

import re
from typing import NamedTuple

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Columns(NamedTuple):
    """The names of the columns that hold the text and its summary."""

    source: str
    target: str


class Pair(NamedTuple):
    """A text and its summary, both without line breaks."""

    source: str
    target: str


def without_line_breaks(text: str) -> str:
    """Replace every line break by a space."""
    return _LINE_BREAK.sub(" ", text)
