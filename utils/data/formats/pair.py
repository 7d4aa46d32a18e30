"""The text form of an example."""

from typing import NamedTuple


class Pair(NamedTuple):
    """A text and its summary, both without line breaks."""

    source: str
    target: str
