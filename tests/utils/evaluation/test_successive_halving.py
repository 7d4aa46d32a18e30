"""The rounds of a comparison: their sizes, their subsets, and who goes on."""

import numpy as np

from utils.evaluation.successive_halving import Rung, halve, nested_portions, plan_rungs


def test_a_third_goes_on_to_three_times_as_many_rows() -> None:
    assert plan_rungs(36, 900, 50) == [Rung(36, 100), Rung(12, 300), Rung(4, 900)]
    assert plan_rungs(20, 901, 50) == [Rung(20, 101), Rung(7, 301), Rung(3, 901)]


def test_subsets_that_are_too_small_are_left_out() -> None:
    assert plan_rungs(36, 900, 101) == [Rung(36, 300), Rung(4, 900)]
    assert plan_rungs(36, 13, 50) == [Rung(36, 13)]
    assert plan_rungs(36, 2, 1) == [Rung(36, 1), Rung(4, 2)] and plan_rungs(36, 1, 1) == [Rung(36, 1)]
    assert plan_rungs(4, 900, 50) == plan_rungs(4, 900, 1) == [Rung(4, 900)]


def test_portions_make_nested_random_subsets_of_the_split() -> None:
    rungs = plan_rungs(36, 901, 50)
    portions = nested_portions(rungs, seed=1)
    assert [len(rows) for rows in portions] == [101, 200, 600]
    assert np.array_equal(np.sort(np.concatenate(portions)), np.arange(901))
    for rows, same, other in zip(portions, nested_portions(rungs, 1), nested_portions(rungs, 2), strict=True):
        assert np.array_equal(rows, same) and not np.array_equal(rows, other)
        assert np.all(np.diff(rows) > 0) and rows[-1] - rows[0] > 600


def test_the_best_of_each_round_go_on_and_the_first_of_equals_wins() -> None:
    """In the first round, evens are better than odd ones; later what is near 5 is better."""
    asked = []

    def score(number: int, survivors: list[int]) -> list[float]:
        asked.append((number, list(survivors)))
        return [float(-(each % 2) if number == 0 else -abs(each - 5)) for each in survivors]

    assert halve(range(13), plan_rungs(13, 90, 1), score) == [4, 6]
    assert asked == [(0, list(range(13))), (1, [0, 2, 4, 6, 8]), (2, [4, 6])]
