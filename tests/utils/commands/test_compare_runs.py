"""Compares evaluations that differ by chance, that differ beyond it, and that cannot be compared."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bart.errors import InputError
from tests.commands import ROOT
from utils.evaluation.paired_bootstrap import paired_comparison
from utils.evaluation.rouge import ROUGE_TYPES, mean_scores, scorer_description
from utils.evaluation.score_files import read_example_scores, write_example_scores
from utils.io.json_files import write_json

REFERENCES = [f"reference {row}" for row in range(400)]


def write_run(folder: Path, scores: np.ndarray, references: list[str] = REFERENCES, **scorer: str) -> Path:
    folder.mkdir()
    write_example_scores(folder, "test", references, scores)
    write_json(folder / "test_rouge.json", {**mean_scores(scores), "scorer": scorer_description(**scorer)})
    return folder


def random_scores(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, (len(REFERENCES), 4))


def compare(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "scripts" / "compare_runs.sh"), *map(str, arguments)]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_small_difference_everywhere_counts_and_a_larger_one_by_chance_does_not(tmp_path: Path) -> None:
    """Two random runs differ by more in the mean than a run and its copy that is 0.01 better in each example."""
    scores = random_scores(1)
    better = scores + 0.01 + np.random.default_rng(2).normal(0, 0.02, scores.shape)
    first, second = write_run(tmp_path / "a", scores), write_run(tmp_path / "b", better)
    other = write_run(tmp_path / "c", random_scores(3))
    found = paired_comparison(first, second, "test")["scores"]
    by_chance = paired_comparison(first, other, "test")["scores"]
    for name in ROUGE_TYPES:
        low, high = found[name]["interval_95"]
        assert 0 < low < found[name]["difference"] < high and found[name]["p"] < 0.001
        assert abs(found[name]["difference"] - 1) < 0.3
        assert by_chance[name]["p"] > 0.05 and by_chance[name]["interval_95"][0] < 0 < by_chance[name]["interval_95"][1]
    assert max(abs(row["difference"]) for row in by_chance.values()) > 1


def test_p_is_that_of_the_sign(tmp_path: Path) -> None:
    """If one example alone is better, a draw leaves it out with probability (1 - 1/N)^N, so p is 2/e."""
    scores = random_scores(1)
    one = scores.copy()
    one[7] += 0.05
    first, second = write_run(tmp_path / "a", scores), write_run(tmp_path / "b", one)
    for row in paired_comparison(first, second, "test")["scores"].values():
        assert row["p"] == pytest.approx(2 / np.e, abs=0.03)
    assert all(row["p"] == 1 for row in paired_comparison(first, first, "test")["scores"].values())


def test_the_script(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", random_scores(1))
    second = write_run(tmp_path / "b", random_scores(1) + 0.02)
    process = compare(first, second)
    assert process.returncode == 0, process.stderr
    assert f"A: {first}\nB: {second}\n400 examples of test" in process.stdout
    assert "Beyond chance at 5%: rouge1, rouge2, rougeL, rougeLsum" in process.stdout and "+2.00" in process.stdout
    content = json.loads(compare(first, second, "--json").stdout)
    assert content["n_obs"] == 400 and content["scores"]["rouge2"]["difference"] == pytest.approx(2.0)
    assert np.allclose(read_example_scores(first, "test").scores, random_scores(1), atol=1e-6)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    scores = random_scores(1)
    run = write_run(tmp_path / "run", scores)
    fewer = write_run(tmp_path / "fewer", scores[:300], REFERENCES[:300])
    others = write_run(tmp_path / "others", scores, REFERENCES[::-1])
    newline = write_run(tmp_path / "newline", scores, splitter="newline")
    unicode = write_run(tmp_path / "unicode", scores, tokenizer="unicode")
    damaged = write_run(tmp_path / "damaged", scores)
    (damaged / "test_example_scores.json").write_text('{"references": 1}')
    for other, said in (
        (fewer, "evaluated on different examples (400 and 300 of test)"),
        (others, "evaluated on different examples"),
        (newline, "scored differently"),
        (tmp_path / "none", "none/test_rouge.json: not found; give the results folder"),
        (damaged, "test_example_scores.json: holds no scores of examples"),
    ):
        process = compare(run, other)
        assert process.returncode == 2 and said in process.stderr and process.stderr.count("\n") == 1, process.stderr
    assert compare(run).returncode == 2
    with pytest.raises(InputError, match=r"scored differently .*'tokenizer': 'unicode"):
        paired_comparison(run, unicode, "test")
