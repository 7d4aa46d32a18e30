"""Tests the finalists of a tuning against the present setting, and says what came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .paired_bootstrap import LEVEL, RESAMPLES, holm, two_sided_p
from .rouge import resampled_means
from .scored_settings import ScoredSetting
from .search_grid import TUNED, SearchSetting
from .tuning_metric import metric_of, metric_value

_RESAMPLES_PER_SETTING = 100  # so that p times the number of settings can be below LEVEL


@dataclass(frozen=True)
class Finalist:
    """A setting that was scored on the whole split, compared with the present one."""

    setting: SearchSetting
    value: float  # of the metric
    seconds: float  # that generating took
    gain: float
    interval_95: tuple[float, float]  # of the gain
    p: float
    corrected_p: float  # for all settings that were tried


@dataclass(frozen=True)
class Verdict:
    """What a tuning has found."""

    present: SearchSetting
    present_value: float
    present_seconds: float
    finalists: list[Finalist]  # the best one first
    tried: int  # settings beside the present one
    resamples: int

    @property
    def winner(self) -> Finalist | None:
        """Return the best finalist that is better than the present setting beyond chance; None if none is."""
        return next((each for each in self.finalists if each.gain > 0 and each.corrected_p < LEVEL), None)

    @property
    def best(self) -> Finalist | None:
        """Return the best finalist, whether by chance or not; None if the present setting is as good."""
        return self.finalists[0] if self.finalists[0].gain > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """Return the entries of the report."""
        return {
            "test": {
                "method": "paired bootstrap, two-sided; Holm's correction for all settings that were tried",
                "settings_tried": self.tried,
                "resamples": self.resamples,
                "level": LEVEL,
            },
            "present": {"setting": self.present, "value": self.present_value, "seconds": self.present_seconds},
            "finalists": [
                {
                    "setting": each.setting,
                    "value": each.value,
                    "gain": each.gain,
                    "interval_95": list(each.interval_95),
                    "p": each.p,
                    "corrected_p": each.corrected_p,
                    "seconds": each.seconds,
                }
                for each in self.finalists
            ],
            "winner": None if self.winner is None else self.winner.setting,
        }


def judge(present: ScoredSetting, finalists: Sequence[ScoredSetting], tried: int, metric: str) -> Verdict:
    """Compare each finalist with the present setting by a paired bootstrap over the examples.

    The finalists were chosen by their scores on the same examples, and the best of many settings is good by luck, too.
    So p is corrected for all settings that were tried, as if each of them had been tested on the whole split.

    Args:
        present: the present setting, scored on the whole split.
        finalists: scored on the whole split, the best one first.
        tried: the number of settings that were tried, beside the present one.
        metric: the name of the metric.
    """
    # Draw the examples anew, the same ones for all.
    resamples = max(RESAMPLES, tried * _RESAMPLES_PER_SETTING)
    settings = [present, *finalists]
    columns = np.concatenate([each.scores for each in settings], axis=1)  # (N, 4 settings)
    draws = resampled_means(columns, resamples, seed=0).reshape(resamples, len(settings), -1)
    drawn_values = metric_of(metric)(draws)  # (resamples, settings)
    differences = drawn_values[:, 1:] - drawn_values[:, :1]

    # The gain of each, with its interval and p.
    values = [metric_value(metric, each.scores) for each in settings]
    low, high = np.percentile(differences, [2.5, 97.5], axis=0).tolist()
    least = 2.0 ** (1 - len(present.scores))  # that signs of so few examples can show: a draw never leaves them
    p_values = [max(two_sided_p(draws), least) for draws in differences.T]
    corrected = holm(p_values, tried)
    compared = [
        Finalist(
            each.setting,
            values[index + 1],
            each.seconds,
            values[index + 1] - values[0],
            (low[index], high[index]),
            p_values[index],
            corrected[index],
        )
        for index, each in enumerate(finalists)
    ]
    return Verdict(present.setting, values[0], present.seconds, compared, tried, resamples)


def verdict_text(verdict: Verdict, metric: str) -> str:
    """Write the finalists as a table, with a sentence on what it shows."""
    name = "geometric mean of ROUGE-1, -2 and -L" if metric == "mean" else metric
    widths = [len(column) + 2 for column in TUNED]
    tuned = "".join(f"{column:>{width}}" for column, width in zip(TUNED, widths, strict=True))
    lines = [
        f"metric: {name}, times 100; gain over the present setting (first row)",
        "",
        f"{tuned}{'metric':>9}{'gain':>8}   {'95% interval':<18}{'p':>7}{'corrected p':>13}{'seconds':>9}",
        f"{_values_text(verdict.present, widths)}{verdict.present_value:9.2f}{'':>46}   {verdict.present_seconds:9.1f}",
    ]
    for each in verdict.finalists:
        interval = "[{:+.2f}, {:+.2f}]".format(*each.interval_95)
        lines.append(
            f"{_values_text(each.setting, widths)}{each.value:9.2f}{each.gain:+8.2f}   {interval:<18}"
            f"{each.p:7.4f}{each.corrected_p:13.4f}{each.seconds:9.1f}"
        )
    beyond = "No setting is better than the present one" if verdict.winner is None else "The winner is better"
    return "\n".join(
        [
            *lines,
            "",
            f"{beyond} beyond chance at 5% (paired bootstrap over the examples, p corrected for the {verdict.tried:,} "
            "settings that were tried).",
        ]
    )


def _values_text(setting: SearchSetting, widths: Sequence[int]) -> str:
    return "".join(f"{setting[name]:>{width}}" for name, width in zip(TUNED, widths, strict=True))
