"""The grid of a tuning: its values, its combinations, and draws from it."""

import numpy as np

from bart.configuration.generation_config import GenerationConfig
from utils.evaluation.search_grid import TUNED, default_values, draw_settings, present_setting, settings_of_grid

PRESENT = present_setting(GenerationConfig(num_beams=4, length_penalty=2.0, min_length=10, no_repeat_ngram_size=3))


def test_default_values_follow_the_configuration_and_the_targets() -> None:
    assert default_values(PRESENT, np.arange(1, 101), 48) == {
        "num_beams": [1, 2, 4, 8],
        "length_penalty": [0.6, 1.0, 2.0],
        "min_length": [0, 10, 11, 26],  # the median is above the longest output
        "no_repeat_ngram_size": [0, 3],
    }
    other = dict(zip(TUNED, [6, 1.5, 56, 2], strict=True))
    values = default_values(other, np.full(3, 20), 142)
    assert list(values.values()) == [[1, 2, 4, 6, 8], [0.6, 1.0, 1.5, 2.0], [0, 20, 56], [0, 2, 3]]


def test_each_combination_is_there_once_and_the_present_one_is_not() -> None:
    values = {"num_beams": [4, 1, 4], "length_penalty": [1.0, 2.0], "min_length": [10], "no_repeat_ngram_size": [0, 3]}
    found = [tuple(setting.values()) for setting in settings_of_grid(values, PRESENT)]
    assert found == [(4, 1.0, 10, 0), (4, 1.0, 10, 3), (4, 2.0, 10, 0), (1, 2.0, 10, 0), (1, 2.0, 10, 3)]


def test_a_draw_depends_on_the_seed_alone() -> None:
    settings = settings_of_grid(default_values(PRESENT, np.arange(1, 101), 48), PRESENT)
    drawn = draw_settings(settings, 20, seed=1)
    assert drawn == draw_settings(settings, 20, seed=1) != draw_settings(settings, 20, seed=2)
    places = [settings.index(setting) for setting in drawn]
    assert len(places) == 20 and places == sorted(set(places))
    assert draw_settings(settings, len(settings) + 1, seed=1) == settings
