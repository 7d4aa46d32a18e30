import math
import random

import numpy as np
import pytest

from bart.errors import InputError
from utils.cli.rerank_args import UTILITIES
from utils.evaluation.consensus import ConsensusChooser


def shared_words(candidate: str, reference: str) -> float:
    return float(len(set(candidate.split()) & set(reference.split())))


def test_by_hand() -> None:
    """ROUGE-1 is 2c / (a + b): "a b c" shares 2 words with each other text, which share 1 with each other."""
    pool = ["a b", "a b c", "b c d"]
    means = ConsensusChooser("rouge1").mean_utilities(pool)
    assert means == pytest.approx([(4 / 5 + 2 / 5) / 2, (4 / 5 + 4 / 6) / 2, (2 / 5 + 4 / 6) / 2], abs=1e-15)
    assert means.dtype == np.float64
    assert ConsensusChooser("rouge1").choose([pool]) == [1]


def test_the_utility_decides() -> None:
    """Each of the three texts is chosen by one of the utilities."""
    pool = ["a c b", "c d b a", "a a c d"]  # common words of each two: a c b, a c, a c d; pairs: none, a c, c d
    means = ConsensusChooser("rouge1").mean_utilities(pool)
    assert means == pytest.approx([(6 / 7 + 4 / 7) / 2, (6 / 7 + 6 / 8) / 2, (4 / 7 + 6 / 8) / 2])
    means = ConsensusChooser("rouge2").mean_utilities(pool)
    assert means == pytest.approx([(0 + 2 / 5) / 2, (0 + 2 / 6) / 2, (2 / 5 + 2 / 6) / 2])
    means = ConsensusChooser("rougeL").mean_utilities(pool)  # in order: c b, a c, c d
    assert means == pytest.approx([(4 / 7 + 4 / 7) / 2, (4 / 7 + 4 / 8) / 2, (4 / 7 + 4 / 8) / 2])
    assert [ConsensusChooser(name).choose([pool]) for name in ("rouge1", "rouge2", "rougeL")] == [[1], [2], [0]]


def test_texts_of_any_script() -> None:
    """The same pool in ASCII, and in characters that are words: by words of ASCII alone it is a pool of empty texts."""
    pools = [["a b", "a b c", "b c d"], ["中文", "中文字", "文字典"]]
    expected = ConsensusChooser("mean").mean_utilities(pools[0])
    for pool in pools:
        assert (ConsensusChooser("mean", "unicode").mean_utilities(pool) == expected).all()
    assert not ConsensusChooser("mean").mean_utilities(pools[1]).any()


def test_mean_is_of_the_three() -> None:
    pool = ["the cat sat here", "the cat sat on mats", "a dog here", "The cats sat."]
    parts = [ConsensusChooser(name).mean_utilities(pool) for name in ("rouge1", "rouge2", "rougeL")]
    assert ConsensusChooser("mean").mean_utilities(pool) == pytest.approx(np.mean(parts, axis=0), abs=1e-15)


@pytest.mark.parametrize("utility", [*UTILITIES, shared_words])
def test_identical_texts_are_votes(utility) -> None:
    """Alone, "x y" is the only one of its kind; three of it have more votes than two similar texts."""
    chooser = ConsensusChooser(utility)
    assert chooser.choose([["x y", "a b c", "a b d"]]) == [1]
    pool = ["a b c", "x y", "x y", "a b d", "x y"]
    assert chooser.choose([pool]) == [1]
    means = chooser.mean_utilities(pool)
    assert means[1] == means[2] == means[4] == pytest.approx(2 * (2 if utility == shared_words else 1) / 4)


@pytest.mark.parametrize("utility", [*UTILITIES, shared_words])
def test_the_score_decides_between_equals_and_then_the_place(utility) -> None:
    pool = ["a b", "x y", "a b", "x y"]
    chooser = ConsensusChooser(utility)
    assert chooser.choose([pool]) == [0]
    assert chooser.choose([pool], [[-2, -1.5, -1, -3]]) == [2]
    assert chooser.choose([pool, pool], [[-2, -1, -2, -1], [0, 0, 0, 0]]) == [1, 0]
    assert chooser.choose([["a b c", "z", "a b"]], [[-5, -1, -4]]) == [2]  # two agree, whatever the score of the third


def test_sums_that_differ_by_rounding_alone_are_equal() -> None:
    # The candidates p and q have the same utilities in another order; r and s decide nothing.
    table = {("p", "q"): 0.3, ("p", "r"): 0.1, ("p", "s"): 0.2, ("q", "p"): 0.1, ("q", "r"): 0.2, ("q", "s"): 0.3}
    chooser = ConsensusChooser(lambda *pair: table.get(pair, 0) + (1e-15 if pair == ("q", "p") else 0))
    assert chooser.choose([["p", "q", "r", "s"]], [[-1, -2, -3, -4]]) == [0]
    assert chooser.choose([["p", "q", "r", "s"]], [[-2, -1, -3, -4]]) == [1]


@pytest.mark.parametrize("utility", [*UTILITIES, shared_words])
def test_single_and_empty_candidates(utility) -> None:
    chooser = ConsensusChooser(utility)
    assert chooser.choose([["only one"], [""], ["", " "]], [[-1], [-2], [-3, -2]]) == [0, 0, 1]
    assert list(chooser.mean_utilities(["only one"])) == [0]
    # Two empty texts are no votes for each other, and lose even if the others share nothing.
    assert chooser.choose([["", "a", "", "b"]], [[0, -3, 0, -2]]) == [3]
    expected = 2 / 3 if utility == shared_words else 1 / 3
    assert chooser.mean_utilities(["", "a b", "", "a b"]) == pytest.approx([0, expected, 0, expected])
    assert chooser.choose([]) == []


def test_a_function_gets_candidate_and_reference() -> None:
    """One that is not symmetric: the share of the reference's words that the candidate has."""
    calls = []

    def recall(candidate: str, reference: str) -> float:
        calls.append((candidate, reference))
        return shared_words(candidate, reference) / len(reference.split())

    pool = ["a", "a b c d", "a", "", "a b"]
    means = ConsensusChooser(recall).mean_utilities(pool)
    assert means == pytest.approx([(1 / 4 + 1 + 1 / 2) / 4, 3 / 4, (1 / 4 + 1 + 1 / 2) / 4, 0, (2 / 4 + 1 + 1) / 4])
    pairs = [("a", "a"), ("a", "a b c d"), ("a", "a b"), ("a b c d", "a"), ("a b c d", "a b"), ("a b", "a")]
    assert sorted(calls) == sorted([*pairs, ("a b", "a b c d")])


@pytest.mark.parametrize("utility", UTILITIES)
def test_permuted_candidates_have_permuted_utilities(utility) -> None:
    """To the last bit, so that the order of the candidates decides nothing."""
    generator = random.Random(3)
    for _ in range(30):
        pool = [" ".join(generator.choices("abcdefg", k=generator.randint(0, 9))) for _ in range(12)]
        order = generator.sample(range(12), 12)
        chooser = ConsensusChooser(utility)
        means, permuted = chooser.mean_utilities(pool), chooser.mean_utilities([pool[index] for index in order])
        assert list(permuted) == list(means[order])
        chosen = chooser.choose([pool])[0]
        assert means[chosen] == pytest.approx(max(means), abs=1e-12)


def test_a_pool_is_chosen_from_alone() -> None:
    generator = random.Random(4)
    pools = [[" ".join(generator.choices("abcde", k=5)) for _ in range(size)] for size in (1, 7, 3, 12)]
    chooser = ConsensusChooser("mean")
    assert chooser.choose(pools) == [index for pool in pools for index in chooser.choose([pool])]


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="utility 'rouge3': give rouge1, rouge2, rougeL, mean or a function"):
        ConsensusChooser("rouge3")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a pool has no candidates"):
        ConsensusChooser("rouge1").choose([["a"], []])
    for scores in ([[1]], [[1], [1, 2]]):
        with pytest.raises(InputError, match="give one score for each candidate of each pool"):
            ConsensusChooser("rouge1").choose([["a"], ["b"]], scores)
    with pytest.raises(InputError, match="not finite"):
        ConsensusChooser(lambda candidate, reference: math.nan).choose([["a", "b"]])
