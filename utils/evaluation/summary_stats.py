"""Measure summaries beyond ROUGE: what is new, what is repeated, what the source does not say, and how long they are.

Words are runs of letters, digits and underscores, in lower case, or those of unicode_words.py; a text of N words has
N - n + 1 n-grams.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from .names_and_numbers import Mention, find_mentions, mention_counts

ORDERS = (1, 2, 3, 4)  # the n of n-grams
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class SystemTraits:
    """What was measured of a system's summaries."""

    entry: dict[str, Any]  # of the report
    mentions: list[list[Mention]]  # the names and numbers of each summary


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return _WORD.findall(text.lower())


def summary_traits(
    sources: Sequence[str],
    systems: Sequence[Sequence[str]],
    references: Sequence[str] | None,
    words_of: Callable[[str], list[str]] = words,
) -> list[SystemTraits]:
    """Measure the summaries of one or more systems and, for comparison, the references.

    Args:
        sources: the sources.
        systems: what each system wrote, one summary of each source.
        references: one of each source, if there are any.
        words_of: splits a text into words without spaces. Each text is split once.

    Returns:
        Of each system the names and numbers, and an entry of JSON types. It has, of the summaries ("generated") and of
        the references:

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

    texts = [*systems, *([] if references is None else [references])]
    mentions = find_mentions(sources, texts)
    measured = [
        {**_traits(split_sources, [words_of(text) for text in of_system]), **mention_counts(found)}
        for of_system, found in zip(texts, mentions, strict=True)
    ]
    of_references = None if references is None else measured[-1]
    return [
        SystemTraits(_entry(measured[system], of_references), mentions[system]) for system in range(len(systems))
    ]


def _entry(generated: dict[str, Any], references: dict[str, Any] | None) -> dict[str, Any]:
    if references is None:
        return {"generated": generated}
    expected = references["words"]
    ratio = generated["words"] / expected if expected else None
    return {"generated": generated, "references": references, "length_ratio": ratio}


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
