"""ROUGE (Lin 2004, https://aclanthology.org/W04-1013) of all pairs in a pool of texts, vectorized.

The F-measures are those of rouge-score with its Porter stemmer (utils/evaluation/rouge.py), which scores one pair at a
time. Here, every text of a pool is split into words once, and every word is stemmed once.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal

import numpy as np
from nltk.stem.porter import PorterStemmer
from rouge_score.tokenize import tokenize

RougeType = Literal["rouge1", "rouge2", "rougeL"]

# These bound the memory: a pool of 48 summaries is below them, and takes one step.
_STEMS = 100_000
_NGRAMS_PER_PRODUCT = 8192
_TEXTS_PER_INTEGER = 64


def rouge_of_pairs(texts: Sequence[str], rouge_types: Sequence[RougeType]) -> np.ndarray:
    """Score every text of a pool against every one, itself too.

    Args:
        texts: n texts, one or more.
        rouge_types: k types.

    Returns:
        F-measures from 0 to 1: (k, n, n) float64, equal to those of rouge-score except for rounding. They are
        symmetric. A text without words scores 0, also against itself.
    """
    split_texts = [tokenize(text, _stemmer()) for text in texts]
    return np.stack([_f_measures(split_texts, rouge_type) for rouge_type in rouge_types])


class _CachedStemmer:
    """Has the method that rouge-score's tokenizer calls for each word of four characters or more."""

    def __init__(self) -> None:
        self.stem = lru_cache(_STEMS)(PorterStemmer().stem)


@cache
def _stemmer() -> _CachedStemmer:
    return _CachedStemmer()


def _f_measures(texts: Sequence[list[str]], rouge_type: RougeType) -> np.ndarray:
    """Return the F-measures (n, n): precision c / a and recall c / b have the harmonic mean 2c / (a + b)."""
    order = 2 if rouge_type == "rouge2" else 1
    common = _common_subsequences(texts) if rouge_type == "rougeL" else _common_ngrams(texts, order)
    sizes = np.array([max(len(text) - order + 1, 0) for text in texts])
    return 2 * common / np.maximum(sizes[:, None] + sizes, 1)


def _common_ngrams(texts: Sequence[list[str]], order: int) -> np.ndarray:
    """Count the n-grams that two texts share, each as often as in the text that has fewer of it: (n, n).

    The first, second, ... occurrence of an n-gram in a text has a column each, in a matrix of zeros and ones. Texts
    with three and five occurrences of it then share three columns, so the product of two rows is the count.
    """
    columns: dict[tuple[tuple[str, ...], int], int] = {}
    cells = []
    for row, text in enumerate(texts):
        occurrences: Counter[tuple[str, ...]] = Counter()
        for ngram in zip(*(text[start:] for start in range(order)), strict=False):
            occurrences[ngram] += 1
            cells.append((row, columns.setdefault((ngram, occurrences[ngram]), len(columns))))

    # Float32 is exact below 2**24, and its product is the fastest.
    common = np.zeros((len(texts), len(texts)))
    row_of, column_of = np.array(cells, int).reshape(-1, 2).T
    for first in range(0, len(columns), _NGRAMS_PER_PRODUCT):
        inside = (column_of >= first) & (column_of < first + _NGRAMS_PER_PRODUCT)
        matrix = np.zeros((len(texts), min(_NGRAMS_PER_PRODUCT, len(columns) - first)), np.float32)
        matrix[row_of[inside], column_of[inside] - first] = 1
        common += matrix @ matrix.T
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
