"""The grid of search settings that a tuning tries, and a draw from it."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from bart.configuration.generation_config import GenerationConfig

TUNED = ("num_beams", "length_penalty", "min_length", "no_repeat_ngram_size")
SearchSetting = dict[str, Any]  # a value for each name in TUNED

_NUM_BEAMS = (1, 2, 4, 8)
_LENGTH_PENALTIES = (0.6, 1.0, 2.0)
_NGRAMS = (0, 3)
_LENGTH_PERCENTILES = (10, 25, 50)


def present_setting(config: GenerationConfig) -> SearchSetting:
    """Return the values that a configuration has."""
    return {name: getattr(config, name) for name in TUNED}


def default_values(present: Mapping[str, Any], target_tokens: np.ndarray, max_length: int) -> dict[str, list[Any]]:
    """Return the values to try of each setting, the present one among them.

    Shortest outputs are 0 and percentiles of the targets' lengths.

    Args:
        present: from ``present_setting``.
        target_tokens: (N,) tokens of each target, with <s> and </s>. An output has its start token beside these, but
            ``min_length`` is reached before </s>: so the numbers mean the same.
        max_length: longest output, in tokens. Shortest lengths above it are left out.
    """
    shortest = np.percentile(target_tokens, _LENGTH_PERCENTILES, method="nearest").tolist()
    values = {
        "num_beams": _NUM_BEAMS,
        "length_penalty": _LENGTH_PENALTIES,
        "min_length": [0, *(length for length in shortest if length < max_length)],
        "no_repeat_ngram_size": _NGRAMS,
    }
    return {name: sorted({*values[name], present[name]}) for name in TUNED}


def settings_of_grid(values: Mapping[str, Sequence[Any]], present: Mapping[str, Any]) -> list[SearchSetting]:
    """Return all combinations but the present one, each once.

    Without beams the length penalty has no effect, so it stays as it is.
    """
    combinations = [dict(zip(TUNED, combination, strict=True)) for combination in product(*map(values.get, TUNED))]
    for setting in combinations:
        if setting["num_beams"] == 1:
            setting["length_penalty"] = present["length_penalty"]
    unique = {setting_name(setting): setting for setting in combinations}
    unique.pop(setting_name(present), None)
    return list(unique.values())


def draw_settings(settings: Sequence[SearchSetting], budget: int, seed: int) -> list[SearchSetting]:
    """Draw at most ``budget`` settings without replacement, and keep their order.

    Drawing at random covers each setting's values better than a coarser grid (Bergstra & Bengio 2012,
    https://www.jmlr.org/papers/v13/bergstra12a.html).
    """
    count = min(budget, len(settings))
    drawn = np.random.default_rng(seed).choice(len(settings), count, replace=False)
    return [settings[index] for index in sorted(drawn.tolist())]


def setting_name(setting: Mapping[str, Any]) -> str:
    """Return a name for a folder."""
    return ",".join(f"{name}={setting[name]}" for name in TUNED)
