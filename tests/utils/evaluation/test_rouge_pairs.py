import random

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from utils.evaluation import rouge_pairs
from utils.evaluation.rouge_pairs import rouge_of_pairs
from utils.evaluation.unicode_words import UnicodeTokenizer

TYPES = ("rouge1", "rouge2", "rougeL")
# Words whose stems are equal, punctuation, digits, and characters that lower() or the tokenizer treats in its own way.
WORDS = [
    *("cat", "cats", "Cat", "CATS", "running", "runs", "run", "generalization", "generalize", "dying", "skies", "the"),
    *("it's", "e-mail", "3.5", "2021", "--", "!", "naïve", "café", "中文", "\u212aelvin", "İstanbul", "ﬁne", "a"),
    *("\x00", "\u2028", "\U0001f600", "Straße", "", "\t", "\n", "be", "being"),
]


def random_pool(generator: random.Random, size: int, longest: int) -> list[str]:
    """Write texts that share words and their order: each is one of two, with words replaced, a part of it, or mixed."""
    two = [generator.choices(WORDS, k=longest) for _ in range(2)]
    pool = []
    for _ in range(size):
        kept = generator.random()
        words = [word if generator.random() < kept else generator.choice(WORDS) for word in generator.choice(two)]
        words = words[: generator.randint(0, 3 * longest)]
        if generator.random() < 0.2:
            generator.shuffle(words)
        pool.append(generator.choice([" ", "  ", ", "]).join(words))
    return pool


def largest_difference(pools: list[list[str]]) -> float:
    """Compare all pairs of each pool with rouge-score, which is symmetric except for rounding."""
    scorer = RougeScorer(list(TYPES), use_stemmer=True)
    largest = 0.0
    for pool in pools:
        scores = rouge_of_pairs(pool, TYPES)
        assert scores.shape == (3, len(pool), len(pool)) and scores.dtype == np.float64
        assert (scores == scores.swapaxes(1, 2)).all()
        for row, candidate in enumerate(pool):
            for column, reference in enumerate(pool[: row + 1]):
                expected = scorer.score(reference, candidate)
                for measured, name in zip(scores[:, row, column], TYPES, strict=True):
                    largest = max(largest, abs(measured - expected[name].fmeasure))
    return largest


def test_10_000_pairs_equal_rouge_score() -> None:
    generator = random.Random(0)
    pools = [random_pool(generator, 20, longest=14) for _ in range(53)]  # 190 pairs of different texts in each
    assert largest_difference(pools) < 1e-12


@pytest.mark.slow
def test_long_texts_and_large_pools_equal_rouge_score() -> None:
    generator = random.Random(1)
    pools = [random_pool(generator, 130, longest=14) for _ in range(2)]
    assert largest_difference([*pools, *(random_pool(generator, 12, longest=150) for _ in range(20))]) < 1e-12


def test_by_hand() -> None:
    # "a b a b" and "b a a": 3 common words of 4 + 3; 1 common pair, "b a", of 3 + 2; "b a" is in order, or "a a".
    scores = rouge_of_pairs(["a b a b", "b a a"], TYPES)
    assert scores[:, 0, 1] == pytest.approx([6 / 7, 2 / 5, 4 / 7])
    assert scores[:, 1, 0] == pytest.approx(scores[:, 0, 1])
    assert [list(np.diag(score)) for score in scores] == [[1, 1]] * 3


def test_unicode_words_equal_rouge_score_too() -> None:
    pool = random_pool(random.Random(3), 12, longest=14)
    scorer = RougeScorer(list(TYPES), tokenizer=UnicodeTokenizer())
    scores = rouge_of_pairs(pool, TYPES, "unicode")
    for row, text in enumerate(pool):
        for column, reference in enumerate(pool):
            expected = scorer.score(reference, text)
            assert scores[:, row, column] == pytest.approx([expected[name].fmeasure for name in TYPES], abs=1e-12)
    assert (scores != rouge_of_pairs(pool, TYPES)).any()


def test_the_steps_that_bound_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = random_pool(random.Random(2), 11, longest=20)
    expected = rouge_of_pairs(pool, TYPES)
    monkeypatch.setattr(rouge_pairs, "_NGRAMS_AT_A_TIME", 7)
    monkeypatch.setattr(rouge_pairs, "_TEXTS_PER_INTEGER", 3)
    assert (rouge_of_pairs(pool, TYPES) == expected).all()


def test_texts_without_words() -> None:
    assert not rouge_of_pairs(["", "中文", "..."], TYPES).any()
    # A text of one word has no pairs of words, also in common with itself.
    assert rouge_of_pairs(["one", ""], TYPES).tolist() == [[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]]
