"""Keeping what the test split asks out of what a model is trained on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from ..data.formats.pair import Pair

GRAM_WORDS = 5
LEAST_SIMILARITY = 0.5


class LeakFilter:
    """Recognizes pairs and texts that give a test pair away.

    A summary does when its words are those of a test summary; a text when the Jaccard similarity of its set of 5-grams
    of words with that of a test source is 0.5 or more. Case and punctuation do not count.
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
        return self.is_test_summary(pair.target) or self.resembles_test_source(pair.source)

    def is_test_summary(self, summary: str) -> bool:
        return tuple(_words(summary)) in self._summaries

    def resembles_test_source(self, text: str) -> bool:
        grams = _grams(text)
        shared = Counter(row for gram in grams for row in self._sources_with.get(gram, ()))
        return any(
            count >= LEAST_SIMILARITY * (len(grams) + self._gram_counts[row] - count) for row, count in shared.items()
        )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(text: str) -> set[tuple[str, ...]]:
    """The 5-grams of words; of a shorter text the one gram of all its words."""
    words = _words(text)
    return {tuple(words[start : start + GRAM_WORDS]) for start in range(max(1, len(words) - GRAM_WORDS + 1))}
