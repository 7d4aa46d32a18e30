"""Measure summaries beyond ROUGE: what is new, what is repeated, what the source does not say, and how long they are.

Words are runs of letters, digits and underscores, in lower case, or those of unicode_words.py; a text of N words has
N - n + 1 n-grams.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

from .names_and_numbers import mention_counts

ORDERS = (1, 2, 3, 4)  # the n of n-grams
_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return _WORD.findall(text.lower())


def summary_traits(
    sources: Sequence[str],
    generations: Sequence[str],
    references: Sequence[str] | None,
    words_of: Callable[[str], list[str]] = words,
) -> dict[str, Any]:
    """Measure the summaries and, for comparison, the references. ``words_of`` splits a text into words without spaces.

    Returns:
        JSON types. Of the summaries ("generated") and of the references:

        - ``words``: the mean number of words.
        - ``novel_ngrams``: the share of a text's distinct n-grams that its source does not have (See et al. 2017,
          https://arxiv.org/abs/1704.04368, section 6), by n.
        - ``repeated_ngrams``: the share of a text's n-grams that repeat an earlier one, by n.
        - ``names``, ``numbers``: how many there are, and how many of these the sources do not contain, from
          ``mention_counts``. Their share is of all occurrences in all texts.

        Shares are from 0 to 1, means over the texts that are long enough for n-grams; None if no text is. Beside these,
        ``length_ratio``: the words of all summaries per word of all references.
    """
    split_sources = [f" {' '.join(words_of(source))} " for source in sources]  # n-grams are found as " a b "

    def measured(texts: Sequence[str]) -> dict[str, Any]:
        return {**_traits(split_sources, [words_of(text) for text in texts]), **mention_counts(sources, texts)}

    traits: dict[str, Any] = {"generated": measured(generations)}
    if references is not None:
        traits["references"] = measured(references)
        expected = traits["references"]["words"]
        traits["length_ratio"] = traits["generated"]["words"] / expected if expected else None
    return traits


def _traits(split_sources: Sequence[str], split_texts: Sequence[list[str]]) -> dict[str, Any]:
    novel, repeated = {}, {}
    for order in ORDERS:
        pairs = [
            (source, ngrams)
            for source, text in zip(split_sources, split_texts, strict=True)
            if (ngrams := list(_ngrams(text, order)))
        ]
        novel[str(order)] = _mean(_share_not_in(source, set(ngrams)) for source, ngrams in pairs)
        repeated[str(order)] = _mean(1 - len(set(ngrams)) / len(ngrams) for _, ngrams in pairs)
    return {"words": fmean(map(len, split_texts)), "novel_ngrams": novel, "repeated_ngrams": repeated}


def _ngrams(text: list[str], order: int) -> Iterator[str]:
    return (f" {' '.join(text[start : start + order])} " for start in range(len(text) - order + 1))


def _share_not_in(source: str, ngrams: set[str]) -> float:
    return sum(ngram not in source for ngram in ngrams) / len(ngrams)


def _mean(shares: Iterator[float]) -> float | None:
    found = list(shares)
    return fmean(found) if found else None
