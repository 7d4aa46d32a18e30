"""Finalists that win, and such that win by chance: judged on scores that are made up."""

import numpy as np

from utils.evaluation.scored_settings import ScoredSetting
from utils.evaluation.search_grid import TUNED
from utils.evaluation.tuning_metric import metric_value
from utils.evaluation.tuning_verdict import judge, verdict_text

SCORES = np.random.default_rng(1).uniform(0.1, 0.9, (100, 4))
_NOISE = np.random.default_rng(2).normal(0, 1, SCORES.shape)
NOISE = (_NOISE - _NOISE.mean(0)) / _NOISE.std(0)


def scored(beams: int, scores: np.ndarray) -> ScoredSetting:
    return ScoredSetting(dict(zip(TUNED, [beams, 1.0, 0, 3], strict=True)), [scores[:30], scores[30:]], 1.5)


def test_a_small_gain_everywhere_wins_and_a_larger_one_by_chance_does_not() -> None:
    better = scored(2, SCORES + 0.01 + 0.02 * NOISE)
    lucky = scored(3, np.where(np.arange(100)[:, None] == 7, SCORES + 6, SCORES))  # one example alone is better
    verdict = judge(scored(1, SCORES), [lucky, better], 36, "mean")
    first, second = verdict.finalists
    assert first.gain > second.gain > 0.5 and verdict.best == first and verdict.winner == second
    assert first.p > 0.5 and first.corrected_p == 1.0
    assert second.interval_95[0] > 0
    assert second.corrected_p == 36 * second.p < 0.05
    values = [metric_value("mean", scores) for scores in (SCORES, better.scores)]
    assert second.gain == values[1] - values[0] and verdict.present_value == values[0]
    assert "The winner is better beyond chance at 5%" in verdict_text(verdict, "mean")
    assert "36 settings" in verdict_text(verdict, "mean")


def test_more_settings_need_more_evidence() -> None:
    """p of about 0.005 is enough for 4 settings, and not for 40."""
    present, other = scored(1, SCORES), scored(2, SCORES + 0.029 + 0.1 * NOISE)
    few, many = (judge(present, [other], tried, "rouge1") for tried in (4, 40))
    assert 0.001 < few.finalists[0].p < 0.0125
    assert few.winner is not None and many.winner is None and many.best is not None


def test_many_settings_can_still_be_told_from_chance() -> None:
    """Up to 250 settings p of 10,000 draws can be low enough; beyond, there are more draws."""
    verdict = judge(scored(1, SCORES[:20]), [scored(2, SCORES[:20] + 0.05)], 300, "rouge2")
    assert verdict.resamples == 30_000 and verdict.winner is not None


def test_few_examples_show_nothing() -> None:
    """Differences of one sign: with 3 examples they come by chance in one of 4 cases, with 20 almost never."""
    for examples, wins in ((1, False), (3, False), (20, True)):
        verdict = judge(scored(1, SCORES[:examples]), [scored(2, SCORES[:examples] + 0.05)], 4, "rouge1")
        assert (verdict.winner is not None) == wins and verdict.best is not None
    assert judge(scored(1, SCORES[:3]), [scored(2, SCORES[:3] + 0.05)], 4, "rouge1").finalists[0].p == 0.25


def test_a_loss_is_no_gain() -> None:
    verdict = judge(scored(1, SCORES), [scored(2, SCORES - 0.05)], 4, "rougeL")
    assert verdict.winner is verdict.best is None and verdict.finalists[0].corrected_p < 0.05
    assert "No setting is better than the present one" in verdict_text(verdict, "rougeL")
