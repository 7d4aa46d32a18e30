import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from bart.errors import InputError
from scripts.benchmark.rerank_candidates import RerankArguments, make_pools
from utils.cli.rerank_args import UTILITIES
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


def test_figures_of_a_few_sources(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.benchmark.rerank_candidates", "--sources", "20", "--candidates", "6"]
    command += ["--verified_pairs", "50", "--json", str(tmp_path / "figures.json")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    figures = read_json(tmp_path / "figures.json")
    assert list(figures["utilities"]) == list(UTILITIES)
    assert all(value > 0 for times in figures["utilities"].values() for value in times.values())
    assert figures["largest_difference"] < 1e-12
    assert figures["rouge_score_seconds"] > 0
    assert "50 pairs differ from rouge-score by" in process.stdout


def test_candidates_are_similar_and_of_the_size_that_is_asked_for() -> None:
    arguments = RerankArguments(sources=3, candidates=50, words=40, replaced=25)
    pools = make_pools(arguments)
    assert pools == make_pools(arguments)
    assert [len(pool) for pool in pools] == [50] * 3
    for pool in pools:
        words = [candidate.split() for candidate in pool]
        assert {len(candidate) for candidate in words} == {40}
        # Both texts keep a word with probability 0.75.
        same = [word == other for pair in pairwise(words) for word, other in zip(*pair, strict=True)]
        assert sum(same) / len(same) == pytest.approx(0.75**2, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (RerankArguments(texts="nowhere.txt"), "--texts nowhere.txt: cannot be read"),
        (RerankArguments(texts=str(ROOT / "LICENSE"), words=100_000), "words, fewer than --words 100000"),
    ],
)
def test_texts_that_are_refused(arguments: RerankArguments, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_pools(arguments)


def test_more_than_all_words_cannot_be_replaced() -> None:
    with pytest.raises(InputError, match="--replaced 101: give percent, 0 to 100"):
        RerankArguments(replaced=101).check()
