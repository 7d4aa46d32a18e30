from typing import Any

import pytest

from utils.evaluation.summary_stats import summary_traits, words


def traits_of(sources: list[str], generations: list[str], references: list[str] | None) -> dict[str, Any]:
    (measured,) = summary_traits(sources, [generations], references)
    return measured.entry


def test_by_hand() -> None:
    """Compare with the mean shares of two texts, counted by hand for n = 1 and 2."""
    sources = ["The cat sat on the mat.", "Dogs bark"]
    generations = ["A cat sat. A cat sat on!", "dogs"]
    traits = traits_of(sources, generations, ["The cat sat", "Dogs bark at night"])
    generated = traits["generated"]
    assert generated["words"] == 4
    # "a" of {a, cat, sat, on} is new; none of {dogs}.
    assert generated["novel_ngrams"]["1"] == pytest.approx((1 / 4 + 0) / 2)
    # {a cat, cat sat, sat a, sat on}: two are new. The other text has no pair of words, and no part in this mean.
    assert generated["novel_ngrams"]["2"] == pytest.approx(2 / 4)
    assert generated["repeated_ngrams"]["1"] == pytest.approx((3 / 7 + 0) / 2)
    assert generated["repeated_ngrams"]["2"] == pytest.approx(2 / 6)
    assert traits["references"]["novel_ngrams"]["1"] == pytest.approx((0 + 2 / 4) / 2)
    assert traits["length_ratio"] == pytest.approx(8 / 7)


def test_a_word_is_not_found_within_another() -> None:
    traits = traits_of(["category mat"], ["cat at"], None)
    assert traits["generated"]["novel_ngrams"] == {"1": 1.0, "2": 1.0, "3": None, "4": None}
    assert traits.keys() == {"generated"}


def test_nothing_generated_is_no_error() -> None:
    traits = traits_of(["text"], [""], [""])
    assert traits["generated"]["words"] == 0 and traits["generated"]["repeated_ngrams"]["1"] is None
    assert traits["length_ratio"] is None


def test_several_systems_are_measured_as_each_one_alone() -> None:
    """And the sources and the references are split once for all."""
    sources, references = ["The cat of Rome sat.", "Dogs bark in 1980"], ["a cat of Oslo", "two dogs of 1980"]
    systems, split = [["A cat of Rome", "in Bonn in 1980"], ["the cat sat", "the dogs bark"]], []
    together = summary_traits(
        sources, systems, references, lambda text: [split.append(text), words(text)][1]
    )
    assert sorted(split) == sorted([*sources, *references, *systems[0], *systems[1]])
    assert together == [summary_traits(sources, [system], references)[0] for system in systems]
    assert together[0].entry["generated"] != together[1].entry["generated"]
    assert [[len(mentions) for mentions in system.mentions] for system in together] == [[1, 2], [0, 0]]
