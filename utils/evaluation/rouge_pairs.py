"""ROUGE (Lin 2004, https://aclanthology.org/W04-1013) of all pairs in a pool of texts, vectorized.

The F-measures are those of rouge-score with its Porter stemmer and either tokenizer (utils/evaluation/rouge.py), which
scores one pair at a time. Here, every text of a pool is split into words once, and the stems are cached.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

import numpy as np
from nltk.stem.porter import PorterStemmer
from rouge_score.tokenize import tokenize

from .unicode_words import RougeTokenizer, stemmed_unicode_words

RougeType = Literal["rouge1", "rouge2", "rougeL"]

# These bound the memory: a pool of 48 summaries is below them, and takes one step.
_PARTS_KEPT = 100_000
_NGRAMS_AT_A_TIME = 8192
_TEXTS_PER_INTEGER = 64


def rouge_of_pairs(
    texts: Sequence[str], rouge_types: Sequence[RougeType], tokenizer: RougeTokenizer = "ascii"
) -> np.ndarray:
    """Score every text of a pool against every one, itself too.

    Args:
        texts: n texts, one or more.
        rouge_types: k types.
        tokenizer: splits the texts into words, as for ``rouge.example_scores``.

    Returns:
        F-measures from 0 to 1: (k, n, n) float64, equal to those of rouge-score except for rounding. They are
        symmetric. A text without words scores 0, also against itself.
    """
    words_of = stemmed_unicode_words if tokenizer == "unicode" else _words
    split_texts = [words_of(text) for text in texts]
    return np.stack([_f_measures(split_texts, rouge_type) for rouge_type in rouge_types])


def _words(text: str) -> list[str]:
    """Split into stemmed words as rouge-score does."""
    return [word for part in text.split() for word in _words_of_part(part)]


@lru_cache(_PARTS_KEPT)
def _words_of_part(part: str) -> tuple[str, ...]:
    """Split what is between two spaces: most of a pool's texts have the same parts."""
    return tuple(tokenize(part, _stemmer()))


@cache
def _stemmer() -> PorterStemmer:
    return PorterStemmer()


def _f_measures(texts: Sequence[list[str]], rouge_type: RougeType) -> np.ndarray:
    """Return the F-measures (n, n): precision c / a and recall c / b have the harmonic mean 2c / (a + b)."""
    order = 2 if rouge_type == "rouge2" else 1
    common = _common_subsequences(texts) if rouge_type == "rougeL" else _common_ngrams(texts, order)
    sizes = np.array([max(len(text) - order + 1, 0) for text in texts])
    return 2 * common / np.maximum(sizes[:, None] + sizes, 1)


def _common_ngrams(texts: Sequence[list[str]], order: int) -> np.ndarray:
    """Count the words (order 1) or pairs of words (order 2) that two texts share: (n, n).

    Each counts as often as in the text that has fewer of it.
    """
    # Number the words, then the n-grams.
    numbers: dict[str, int] = {}
    split_texts = [np.array([numbers.setdefault(word, len(numbers)) for word in text], int) for text in texts]
    if order == 2:
        split_texts = [text[:-1] * len(numbers) + text[1:] for text in split_texts]
    rows = np.repeat(np.arange(len(texts)), list(map(len, split_texts)))
    distinct, columns = np.unique(np.concatenate(split_texts), return_inverse=True)

    # The smaller one of two counts is the number of k that neither is below, and a product of zeros and ones counts
    # these for all pairs of texts. In float32 it is fast, and exact below 2**24.
    common = np.zeros((len(texts), len(texts)))
    for first in range(0, len(distinct), _NGRAMS_AT_A_TIME):
        inside = (columns >= first) & (columns < first + _NGRAMS_AT_A_TIME)
        counts = np.zeros((len(texts), min(_NGRAMS_AT_A_TIME, len(distinct) - first)), int)
        np.add.at(counts, (rows[inside], columns[inside] - first), 1)
        for k in range(1, counts.max() + 1):
            counts = counts[:, counts.max(0) >= k]
            reached = (counts >= k).astype(np.float32)
            common += reached @ reached.T
    return common


def _common_subsequences(texts: Sequence[list[str]]) -> np.ndarray:
    """Return the lengths of the longest common subsequences (n, n)."""
    starts = range(0, len(texts), _TEXTS_PER_INTEGER)
    return np.hstack([_subsequences_with(texts, texts[start : start + _TEXTS_PER_INTEGER]) for start in starts])


def _subsequences_with(texts: Sequence[list[str]], others: Sequence[list[str]]) -> np.ndarray:
    """Return the lengths of the longest common subsequences of texts and others: (n, m).

    The bit-parallel way of Hyyrö ("Bit-parallel LCS-length computation revisited", 2004): each word of the other text
    is a bit that is set at first, and each word that makes the subsequence longer clears one. All others stand side by
    side in one integer. A bit between two of them takes the carry of the addition, and is cleared after it.
    """
    # Where each other text begins, the bits of all of their words, and those of each word.
    starts = []
    all_words = end = 0
    places: dict[str, int] = {}
    for other in others:
        starts.append(end)
        for place, word in enumerate(other, end):
            places[word] = places.get(word, 0) | 1 << place
        all_words |= ((1 << len(other)) - 1) << end
        end += len(other) + 1

    # The bits that remain after each text, counted within each other one.
    remaining = []
    for text in texts:
        bits = all_words
        for word in text:
            matches = bits & places.get(word, 0)
            bits = (bits + matches | bits - matches) & all_words
        flags = np.unpackbits(np.frombuffer(bits.to_bytes(-(-end // 8), "little"), np.uint8), bitorder="little")
        remaining.append(np.add.reduceat(flags, starts, dtype=np.int64))
    return np.array([len(other) for other in others]) - np.array(remaining)
