"""One example as text."""

from typing import NamedTuple


class Pair(NamedTuple):
    """A text on one line and its summary on one line."""

    source: str
    target: str
