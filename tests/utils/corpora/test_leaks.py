import pytest

from utils.corpora.leaks import LeakFilter
from utils.data.formats.pair import Pair

WORDS = [f"word{number}" for number in range(15)]
TEST = [Pair(" ".join(WORDS), "Count the words."), Pair("Too short.", "Say little.")]


@pytest.mark.parametrize(
    ("summary", "leaks"), [("Count the words.", True), ("count THE words", True), ("Count the words again.", False)]
)
def test_equal_summaries(summary: str, leaks: bool) -> None:
    assert LeakFilter(TEST).is_test_summary(summary) == leaks


def test_similarity_of_sources() -> None:
    leaks = LeakFilter(TEST)
    # 15 words have 11 5-grams. Of the first 10 words, 6 are shared: 6 / (11 + 6 - 6) = 0.55; of 9 words, 5 / 11 = 0.45.
    assert leaks.resembles_test_source(" ".join(WORDS))
    assert leaks.resembles_test_source(" ".join(WORDS).upper() + "!")
    assert leaks.resembles_test_source(" ".join(WORDS[:10]))
    assert not leaks.resembles_test_source(" ".join(WORDS[:9]))
    assert not leaks.resembles_test_source(" ".join(reversed(WORDS)))
    assert leaks.resembles_test_source("too short")
    assert not leaks.resembles_test_source("short too")
    assert not leaks.resembles_test_source("")


def test_either_gives_a_pair_away() -> None:
    leaks = LeakFilter(TEST)
    assert leaks.gives_away(Pair("Another text altogether, which has other words.", "Say little."))
    assert leaks.gives_away(Pair(" ".join(WORDS), "Another summary."))
    assert not leaks.gives_away(Pair("Another text altogether, which has other words.", "Another summary."))
