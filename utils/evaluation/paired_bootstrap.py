"""Tell whether a difference between two evaluations of the same examples is beyond chance (Koehn 2004).

https://aclanthology.org/W04-3250: the examples are drawn anew many times, the same ones for both evaluations.
"""

from collections.abc import Sequence

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.05  # of significance


def two_sided_p(draws: np.ndarray) -> float:
    """Return p of a difference, from its draws (resamples,).

    It is twice the share of draws at or beyond zero, on the rarer side, counted so that it is never 0.
    """
    rarer = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(draws) + 1))


def holm(p_values: Sequence[float], tests: int) -> list[float]:
    """Correct p values for the number of tests (Holm 1979, https://www.jstor.org/stable/4615733).

    The chance of one or more false findings among all tests then stays below the level.

    Args:
        p_values: of some of the tests, in any order.
        tests: how many there are in all. Those that are not listed count as if their p was 1.

    Returns:
        The corrected p values, in the order of ``p_values``.
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (tests - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
