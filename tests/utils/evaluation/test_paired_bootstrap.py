"""Corrections of p computed by hand."""

import numpy as np
import pytest

from utils.evaluation.paired_bootstrap import holm, two_sided_p


def test_p_counts_the_rarer_side_and_is_never_0() -> None:
    draws = np.array([1.0] * 97 + [-1.0, 0.0])  # two of 99 are at or below zero
    assert two_sided_p(draws) == two_sided_p(-draws) == pytest.approx(2 * 3 / 100)
    assert two_sided_p(np.ones(99)) == pytest.approx(2 / 100)
    assert two_sided_p(np.zeros(99)) == 1.0


def test_holm_by_hand() -> None:
    """The lowest of four is taken times 4, the next one times 3 but no lower than before it, and so on."""
    assert holm([0.04, 0.01, 0.03, 0.005], 4) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.012, 0.01], 2) == pytest.approx([0.02, 0.02])


def test_tests_that_are_not_listed_count() -> None:
    assert holm([0.03, 0.001], 36) == pytest.approx([1.0, 0.036])
    assert holm([], 5) == []
