"""Keeps answers to the test split out of the texts that a model is trained on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from ..data.formats.pair import Pair

GRAM_WORDS = 5
LEAST_SIMILARITY = 0.5


class LeakFilter:
    """Recognizes pairs and texts that give a test pair away.

    A summary gives one away if it has the words of a test summary; a text if its set of 5-grams of words and that of a
    test source have a Jaccard similarity of 0.5 or more. Case and punctuation do not count.
    """

    def __init__(self, test: Iterable[Pair]) -> None:
        self._summaries: set[tuple[str, ...]] = set()
        self._gram_counts: list[int] = []  # of each test source
        self._sources_with: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        for row, pair in enumerate(test):
            self._summaries.add(tuple(_words(pair.target)))
            grams = _grams(pair.source)
            self._gram_counts.append(len(grams))
            for gram in grams:
                self._sources_with[gram].append(row)

    def gives_away(self, pair: Pair) -> bool:
        """Whether the summary or the source of a pair gives a test pair away."""
        return self.is_test_summary(pair.target) or self.resembles_test_source(pair.source)

    def is_test_summary(self, summary: str) -> bool:
        """Whether a summary has the words of a test summary."""
        return tuple(_words(summary)) in self._summaries

    def resembles_test_source(self, text: str) -> bool:
        """Whether the 5-grams of a text and of some test source have a Jaccard similarity of 0.5 or more."""
        grams = _grams(text)
        shared = Counter(row for gram in grams for row in self._sources_with.get(gram, ()))
        return any(
            count >= LEAST_SIMILARITY * (len(grams) + self._gram_counts[row] - count) for row, count in shared.items()
        )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(text: str) -> set[tuple[str, ...]]:
    """Return the 5-grams of words; for a shorter text, one gram of all its words."""
    words = _words(text)
    return {tuple(words[start : start + GRAM_WORDS]) for start in range(max(1, len(words) - GRAM_WORDS + 1))}
