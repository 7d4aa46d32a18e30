"""Tests which summaries can be known from their text."""

import pytest

from utils.corpora.coverage import covers
from utils.data.formats.pair import Pair


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("The queues are emptied before a connection closes.", "Close the connection."),  # closes, by its stem
        ("Whether tensors of 2 axes agree.", "Compare tensors of 2 axes."),
        ("It keeps the newest file.", "Keep newest files of the cache directory."),  # 3 of 5
    ],
)
def test_half_of_the_content_words_are_enough(source: str, target: str) -> None:
    assert covers(Pair(source, target))


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("The result is cached.", "Compute eigenvalues of a matrix."),
        ("It keeps the file.", "Keep newest files of the cache directory."),  # 2 of 5
        ("It returns what it is given.", "Return this."),  # no content word at all
        ("", "Close the connection."),
    ],
)
def test_less_is_not(source: str, target: str) -> None:
    assert not covers(Pair(source, target))
