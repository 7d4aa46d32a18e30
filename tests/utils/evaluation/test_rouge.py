import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import utils.evaluation.rouge
from bart.errors import InputError
from utils.evaluation.rouge import (
    ROUGE_TYPES,
    bootstrap_intervals,
    count_zeros,
    example_scores,
    mean_scores,
    rouge_scores,
    scorer_description,
    splitter_of,
    tokenizer_of,
)

ROOT = Path(__file__).parents[3]


def test_equal_texts_score_100_and_disjoint_ones_0() -> None:
    texts = ["The cat sat on the mat. It slept.", "Another one is here."]
    assert rouge_scores(texts, texts) == dict.fromkeys(ROUGE_TYPES, 100.0)
    assert rouge_scores(["dogs bark"], ["The cat sat."]) == dict.fromkeys(ROUGE_TYPES, 0.0)
    assert rouge_scores([""], ["The cat sat."]) == dict.fromkeys(ROUGE_TYPES, 0.0)


def test_by_hand() -> None:
    # 4 of the 6 words and of the 7: F1 = 2 * 4 / 13; 2 of the 5 bigrams and of the 6: 2 * 2 / 11;
    # the longest common subsequence is "the cat on mat", 4 words.
    scores = rouge_scores(["the cat lay on a mat"], ["the cat was sitting on my mat"])
    assert scores == pytest.approx(
        {"rouge1": 800 / 13, "rouge2": 200 / 11, "rougeL": 800 / 13, "rougeLsum": 800 / 13}, abs=1e-12
    )


def test_words_are_stemmed_and_case_and_punctuation_ignored() -> None:
    assert rouge_scores(["Summarizing, DOCUMENTS!"], ["summarized document"])["rouge2"] == 100


def test_the_mean_is_over_examples() -> None:
    scores = rouge_scores(["a b", "x", "a"], ["a b", "y", "a b"])
    assert scores["rouge1"] == pytest.approx((100 + 0 + 200 / 3) / 3, abs=1e-12)


def test_zeros_are_counted() -> None:
    scores = example_scores(["a b", "b a", "x", ""], ["a b", "a b", "y", "a"])
    assert count_zeros(scores) == {"rouge1": 2, "rouge2": 3, "rougeL": 2, "rougeLsum": 2}


def test_intervals_hold_the_mean_as_often_as_they_say() -> None:
    """The standard error of scores that are 0 or 1 is known: 1.96 of it lie on either side of the mean."""
    random = np.random.default_rng(1)
    scores = (random.random((400, 4)) < [0.5, 0.2, 0.5, 0.5]).astype(float)
    intervals = bootstrap_intervals(scores)
    for name, mean in mean_scores(scores).items():
        error = 100 * np.sqrt(mean / 100 * (1 - mean / 100) / 400)
        assert intervals[name] == pytest.approx([mean - 1.96 * error, mean + 1.96 * error], abs=0.6)
    assert bootstrap_intervals(scores) == intervals
    assert bootstrap_intervals(np.full((3, 4), 0.25))["rougeL"] == [25, 25]


# Two sentences in the other order. If they are split, each finds its words (rougeLsum 100); else only the longer one.
REFERENCE = "one two three. Four five"
PREDICTION = "four five. One two three"
NOT_SPLIT = 60  # 3 of 5 words in the longest common subsequence


@pytest.mark.parametrize(
    ("splitter", "prediction", "reference", "expected"),
    [
        ("period", PREDICTION, REFERENCE, 100),
        ("nupunkt", PREDICTION, REFERENCE, 100),
        ("newline", PREDICTION, REFERENCE, NOT_SPLIT),
        ("newline", PREDICTION.replace(". ", ".\n"), REFERENCE.replace(". ", ".\n"), 100),
        # A period with a space on either side ends a sentence in a prediction; in a reference too, by its ". ".
        ("period", PREDICTION.replace(". ", " . "), REFERENCE.replace(". ", " . "), 100),
        # An exclamation mark ends none by the reference recipe's rule.
        ("period", PREDICTION.replace(".", "!"), REFERENCE.replace(".", "!"), NOT_SPLIT),
        ("nupunkt", PREDICTION.replace(".", "!"), REFERENCE.replace(".", "!"), 100),
    ],
)
def test_the_splitter_decides_rouge_lsum_alone(splitter, prediction: str, reference: str, expected: float) -> None:
    scores = rouge_scores([prediction], [reference], splitter)
    assert scores["rougeLsum"] == pytest.approx(expected, abs=1e-12)
    assert scores["rougeL"] == pytest.approx(NOT_SPLIT, abs=1e-12)


def test_one_text_three_splitters_three_values() -> None:
    # period takes "Dr." for the end of a sentence, nupunkt takes "!" for one.
    reference = "We met Dr. Gray at noon! Then we all left"
    prediction = "Then we all left! Gray met us at noon with Dr. White"
    splitters = ("newline", "period", "nupunkt")
    values = [rouge_scores([prediction], [reference], splitter)["rougeLsum"] for splitter in splitters]
    assert all(first < second for first, second in pairwise(values)), values


def test_other_counts_and_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="2 predictions for 1 references"):
        rouge_scores(["a", "b"], ["a"])
    with pytest.raises(InputError, match="there are no references; give at least one example"):
        rouge_scores([], [])


@pytest.fixture
def fresh_warning() -> Iterator[None]:
    utils.evaluation.rouge._warn_of_other_scripts.cache_clear()
    yield
    utils.evaluation.rouge._warn_of_other_scripts.cache_clear()


@pytest.mark.usefixtures("fresh_warning")
def test_other_scripts_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        rouge_scores(["naïve café"], ["Ein schöner Satz"])
        assert caplog.records == []
        assert rouge_scores(["中文文本"], ["中文文本"])["rouge1"] == 0
        rouge_scores(["中文文本"], ["中文文本"])
    assert len(caplog.records) == 1
    assert "not ASCII" in caplog.text and "--rouge_tokenizer unicode" in caplog.text


@pytest.mark.usefixtures("fresh_warning")
def test_unicode_words_need_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert rouge_scores(["中文文本"], ["中文文本"], tokenizer="unicode")["rouge1"] == 100
    assert caplog.records == []


def test_the_description_tells_versions() -> None:
    description = scorer_description()
    assert description["scorer"].startswith("rouge-score 0.")
    assert description["splitter"] == "period"
    assert scorer_description("nupunkt")["splitter"].startswith("nupunkt 0.")
    assert "tokenizer" not in description
    assert scorer_description(tokenizer="unicode")["tokenizer"].startswith("unicode (UAX 29, regex 20")


@pytest.mark.parametrize("splitter", ["period", "nupunkt", "newline"])
@pytest.mark.parametrize("tokenizer", ["ascii", "unicode"])
def test_a_description_names_what_it_was_made_of(splitter, tokenizer) -> None:
    description = scorer_description(splitter, tokenizer)
    assert (splitter_of(description), tokenizer_of(description)) == (splitter, tokenizer)


SCORE = """
from pathlib import Path
import utils.evaluation.rouge
lines = [line for line in Path(utils.evaluation.rouge.__file__).read_text().splitlines() if line] * 9
if __name__ == "__main__":
    for processes in (1, 3):
        print(sorted(utils.evaluation.rouge.rouge_scores(lines[1:], lines[:-1], processes=processes).items()))
"""


def test_any_number_of_processes_gives_the_same_values(tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text(SCORE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True, text=True)
    one, three = process.stdout.splitlines()
    assert one == three
    assert "rougeLsum" in one
