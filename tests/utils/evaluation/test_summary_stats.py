import pytest

from utils.evaluation.summary_stats import summary_traits


def test_by_hand() -> None:
    """Compare with the mean shares of two texts, counted by hand for n = 1 and 2."""
    sources = ["The cat sat on the mat.", "Dogs bark"]
    generations = ["A cat sat. A cat sat on!", "dogs"]
    traits = summary_traits(sources, generations, ["The cat sat", "Dogs bark at night"])
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
    traits = summary_traits(["category mat"], ["cat at"], None)
    assert traits["generated"]["novel_ngrams"] == {"1": 1.0, "2": 1.0, "3": None, "4": None}
    assert traits.keys() == {"generated"}


def test_nothing_generated_is_no_error() -> None:
    traits = summary_traits(["text"], [""], [""])
    assert traits["generated"]["words"] == 0 and traits["generated"]["repeated_ngrams"]["1"] is None
    assert traits["length_ratio"] is None
