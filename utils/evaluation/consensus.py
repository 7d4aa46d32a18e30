"""Choose among candidates by consensus: the one that agrees most with the others.

This is minimum Bayes risk decoding (Kumar and Byrne 2004, https://aclanthology.org/N04-1022), with the other candidates
as equally likely references (Bertsch et al. 2023, https://arxiv.org/abs/2310.01387).
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from bart.errors import InputError

from ..cli.rerank_args import UTILITIES
from .rouge_pairs import RougeType, rouge_of_pairs
from .unicode_words import RougeTokenizer

Utility = Literal["rouge1", "rouge2", "rougeL", "mean"] | Callable[[str, str], float]

_ROUGE_TYPES: dict[str, tuple[RougeType, ...]] = {
    "rouge1": ("rouge1",),
    "rouge2": ("rouge2",),
    "rougeL": ("rougeL",),
    "mean": ("rouge1", "rouge2", "rougeL"),
}
_TIE = 1e-12  # mean utilities that differ by less are equal except for rounding


class ConsensusChooser:
    """Chooses the candidate of each pool that has the highest mean utility over the pool's others.

    A candidate is not compared with itself: every one agrees with itself, whatever it says, and by a utility that grows
    with the length of the texts long candidates would agree with themselves most. Identical texts are votes for each
    other, so among samples the choice depends on how often a text, or one close to it, was drawn.
    """

    def __init__(self, utility: Utility, tokenizer: RougeTokenizer = "ascii") -> None:
        """Take the utility.

        Args:
            utility: F-measure of ROUGE-1, ROUGE-2 or ROUGE-L with stemming, the mean of these three, or any function of
                (candidate, reference) that returns a finite number. It is called once for each pair of different texts
                and for each text that occurs twice or more; not for empty texts, which have utility 0.
            tokenizer: of ROUGE, as for ``rouge.example_scores``.

        Raises:
            InputError: there is no utility of this name.
        """
        if not callable(utility) and utility not in UTILITIES:
            raise InputError(f"utility {utility!r}: give {', '.join(UTILITIES)} or a function of two texts")
        self._utility, self._tokenizer = utility, tokenizer

    def choose(self, pools: Sequence[Sequence[str]], scores: Sequence[Sequence[float]] | None = None) -> list[int]:
        """Choose from each pool.

        Args:
            pools: the candidates of each source, one or more.
            scores: the model's score of each candidate, which decides among equal mean utilities: the higher one wins.
                Without scores, and among equal scores, the first candidate wins.

        Returns:
            The index of the chosen candidate of each pool. An empty text is chosen only from a pool of empty texts.

        Raises:
            InputError: a pool is empty, the scores are not as many as the candidates, or a utility is not finite.
        """
        if scores is not None and list(map(len, scores)) != list(map(len, pools)):
            raise InputError("scores and candidates differ in number; give one score for each candidate of each pool")
        return [
            self._choose_one(pool, [0.0] * len(pool) if scores is None else scores[index])
            for index, pool in enumerate(pools)
        ]

    def mean_utilities(self, pool: Sequence[str]) -> np.ndarray:
        """Return the mean utility of each of n candidates over the n - 1 others: (n,) float64.

        A single candidate has 0. The means are rounded once, so they do not depend on the order of the candidates.

        Raises:
            InputError: the pool is empty, or a utility is not finite.
        """
        if not pool:
            raise InputError("a pool has no candidates; give at least one for each source")

        # Compare the different texts, and look the rest up.
        counts = Counter(pool)
        index_of = {text: index for index, text in enumerate(counts)}
        indices = [index_of[text] for text in pool]
        utilities = self._of_pairs(counts)[np.ix_(indices, indices)]

        np.fill_diagonal(utilities, 0)
        return np.array([math.fsum(row) / max(len(pool) - 1, 1) for row in utilities])

    def _choose_one(self, pool: Sequence[str], scores: Sequence[float]) -> int:
        utilities = self.mean_utilities(pool)
        allowed = [index for index, text in enumerate(pool) if text.strip()] or list(range(len(pool)))
        highest = max(utilities[allowed])
        best = [index for index in allowed if utilities[index] >= highest - _TIE]
        return max(best, key=lambda index: scores[index])  # max returns the first of equals

    def _of_pairs(self, counts: Counter[str]) -> np.ndarray:
        """Return the utilities (m, m) of m different texts, each with its number of occurrences in the pool."""
        texts = list(counts)
        if not callable(self._utility):
            return rouge_of_pairs(texts, _ROUGE_TYPES[self._utility], self._tokenizer).mean(0)
        utilities = np.zeros((len(texts), len(texts)))
        for row, candidate in enumerate(texts):
            for column, reference in enumerate(texts):
                is_a_pair = row != column or counts[candidate] > 1
                if is_a_pair and candidate.strip() and reference.strip():
                    utilities[row, column] = self._utility(candidate, reference)
        if not np.isfinite(utilities).all():
            raise InputError("the utility of a pair of candidates is not finite; return a number for any two texts")
        return utilities
