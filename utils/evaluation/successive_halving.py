"""Successive halving: find the best of many settings without evaluating each of them on all rows.

All settings are scored on a small subset of the rows, the better third of them on a larger one, and so on; the
finalists on all rows. The subsets are nested: what a setting has scored is used again. Sources: Jamieson & Talwalkar
2016 (https://arxiv.org/abs/1502.07943, section 3); Karnin et al. 2013, "Almost Optimal Exploration in Multi-Armed
Bandits" (section 3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

_KEPT = 3  # every third setting goes on, to a subset that is three times as large
_FINALISTS = 4  # or fewer are scored on all rows

Setting = TypeVar("Setting")


@dataclass(frozen=True)
class Rung:
    """A round of the comparison."""

    settings: int  # that take part
    rows: int  # of the subset that they are scored on


def plan_rungs(settings: int, rows: int, smallest: int) -> list[Rung]:
    """Return the rounds for so many settings and rows; the last one has all rows.

    A round with fewer than ``smallest`` rows, or as many as the next one, is left out: its settings begin on the next
    subset.
    """
    survivors = [settings]
    while survivors[-1] > _FINALISTS:
        survivors.append(-(-survivors[-1] // _KEPT))
    sizes = [-(-rows // _KEPT**power) for power in reversed(range(len(survivors)))]
    smallest = next((size for size in sizes if size >= smallest), rows)
    first = max(index for index, size in enumerate(sizes) if size == smallest)
    return [Rung(settings, sizes[first]), *map(Rung, survivors[first + 1 :], sizes[first + 1 :])]


def nested_portions(rungs: Sequence[Rung], seed: int) -> list[np.ndarray]:
    """Draw the rows that each round adds to the subset of the round before, in the order of the split."""
    drawn = np.random.default_rng(seed).permutation(rungs[-1].rows)
    ends = [rung.rows for rung in rungs]
    return [np.sort(drawn[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def halve(
    settings: Sequence[Setting], rungs: Sequence[Rung], score: Callable[[int, Sequence[Setting]], Sequence[float]]
) -> list[Setting]:
    """Run all rounds.

    Args:
        settings: to be compared, at least one.
        rungs: from ``plan_rungs``.
        score: takes the number of a round and its settings, and returns the score of each on the subset of that round.

    Returns:
        The finalists, the best one first. Of equal scores, the one of the setting that was better in the round before
        is better; in the first round, that of the setting that comes first.
    """
    survivors = list(settings)
    for number, rung in enumerate(rungs):
        survivors = survivors[: rung.settings]
        scores = score(number, survivors)
        order = sorted(range(len(survivors)), key=lambda index: -scores[index])  # stable
        survivors = [survivors[index] for index in order]
    return survivors
