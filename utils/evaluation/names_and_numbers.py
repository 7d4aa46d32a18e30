"""Find the names and numbers of a summary that its source does not contain: what a model is likely to have made up.

It needs no model, and is rough. A name is a word of two letters or more that begins with a capital and does not begin a
sentence or a quotation: nouns of German are such words, and scripts without capitals have none. In the source its case
does not matter, its ending does: ``Italians`` is not in a text with ``Italian``. A number is written in digits, and
stands alone or before letters, as in 1980s. 1,000 and 1000 are the same, 3 and ``three`` are not.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Any, NamedTuple

import nupunkt
import regex

_WORD = r"[\p{L}_][\p{L}\p{M}\p{N}_]*"
# Digits in groups with separators of thousands, as of 1,000 or 10 000 or, in India, 1,00,000; or as they come.
_THOUSANDS = r"\p{Nd}{1,3}(?:[,\u066c\u00a0\u202f]\p{Nd}{2,3})*[,\u066c\u00a0\u202f]\p{Nd}{3}(?!\p{Nd})(?:\.\p{Nd}+)?"
_NUMBER = rf"{_THOUSANDS}|\p{{Nd}}+(?:\.\p{{Nd}}+)*"
_TOKENS = regex.compile(rf"(?P<word>{_WORD}(?:\.\p{{Nd}}+)*)|(?P<number>{_NUMBER})")  # v2.0 is a word
_SEPARATOR = regex.compile(r"[,\u066c\u00a0\u202f]")
# Between two words of a sentence, what lets the second one begin a sentence of its own or a quotation.
_BEGINNING = regex.compile(r"[:!?\n\u2022]|,\s*[\"'\u201c\u201e\u00ab\u2018]")


class Mention(NamedTuple):
    """A name or a number in a summary: ``summary[start:end]``."""

    start: int
    end: int
    is_number: bool
    is_in_source: bool


def find_mentions(sources: Sequence[str], systems: Sequence[Sequence[str]]) -> list[list[list[Mention]]]:
    """Find the names and numbers of summaries, and whether the sources have them.

    Args:
        sources: the sources.
        systems: what each of several systems wrote, one summary of each source. The references may be one of them:
            reading a source takes longer than reading its summaries, and it is read once for all systems.

    Returns:
        Of each system and each source, the mentions of the summary in their order, every occurrence.
    """
    by_source = [_mentions_of(source, summaries) for source, *summaries in zip(sources, *systems, strict=True)]
    return [[of_systems[index] for of_systems in by_source] for index in range(len(systems))]


def mention_counts(mentions: Iterable[Sequence[Mention]]) -> dict[str, dict[str, Any]]:
    """Count the names and the numbers of all summaries of a system, for a report.

    Returns:
        Of ``names`` and of ``numbers``: ``count``; ``not_in_source``, how many of these the sources do not contain; and
        ``share``, the second by the first, None if there are none.
    """
    of_all = list(chain.from_iterable(mentions))
    return {
        name: _counts([each for each in of_all if each.is_number == is_number])
        for name, is_number in (("names", False), ("numbers", True))
    }


def _counts(mentions: Sequence[Mention]) -> dict[str, Any]:
    absent = sum(not each.is_in_source for each in mentions)
    return {
        "count": len(mentions),
        "not_in_source": absent,
        "share": absent / len(mentions) if mentions else None,
    }


def _mentions_of(source: str, summaries: Sequence[str]) -> list[list[Mention]]:
    """Return the mentions of each summary of a source."""
    places = [[*_names(summary), *_numbers(summary)] for summary in summaries]
    if not any(places):
        return [[] for _ in summaries]
    words, numbers = _words_and_numbers(source)
    return [
        sorted(
            Mention(start, end, is_number, text in (numbers if is_number else words))
            for start, end, is_number, text in of_summary
        )
        for of_summary in places
    ]


def _words_and_numbers(source: str) -> tuple[set[str], set[str]]:
    """Return the compared forms of the words and of the numbers of a source."""
    tokens = set(_TOKENS.findall(source))  # distinct pairs of a word and a number, one of them empty
    return {_folded(word) for word, _ in tokens if word}, {_plain(number) for _, number in tokens if number}


def _names(text: str) -> Iterator[tuple[int, int, bool, str]]:
    """Yield the start, the end, False and the compared form of each name."""
    for first, last in nupunkt.sent_spans(text):
        tokens = list(_TOKENS.finditer(text, first, last))
        for before, match in pairwise(tokens):
            word, between = match["word"], text[before.end() : match.start()]
            is_capitalized = word is not None and len(word) > 1 and word[0].isupper()
            # Nothing is between 10 and Km in 10Km.
            if is_capitalized and between and not _BEGINNING.search(between):
                yield match.start(), match.end(), False, _folded(word)


def _numbers(text: str) -> Iterator[tuple[int, int, bool, str]]:
    """Yield the start, the end, True and the compared form of each number."""
    for match in _TOKENS.finditer(text):
        if match["number"]:
            yield match.start(), match.end(), True, _plain(match["number"])


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()


def _plain(number: str) -> str:
    """Return a number without separators of thousands, in the digits of ASCII."""
    digits = (str(unicodedata.decimal(each)) if each.isdecimal() else each for each in _SEPARATOR.sub("", number))
    return "".join(digits)
