"""Two checkouts beside each other: here this one and itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts.benchmark.compare_versions import measure_in_turn, same_weights, table
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmark.compare_versions", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)


def test_checkouts_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def measure(checkout: Path) -> dict[str, float]:
        turns.append(checkout.name)
        return {"import": float(len(turns))}

    monkeypatch.setattr("scripts.benchmark.compare_versions.measure", measure)
    assert measure_in_turn([Path("a"), Path("b")], 3) == {"import": [[1.0, 4.0, 5.0], [2.0, 3.0, 6.0]]}
    assert turns == ["a", "b", "b", "a", "a", "b"]


def test_the_table_has_the_ratio_of_medians() -> None:
    seconds = {"import": [[1.0, 9.0, 2.0], [3.0, 1.0, 9.0]]}
    report = {"machine": "some", "versions": ["abc", "def"], "arguments": {"rounds": 3}, "seconds": seconds}
    lines = list(table(report | {"same weights": True, "same generations": False}))
    assert lines[0] == "some" and lines[1].split()[-3:] == ["abc", "def", "ratio"]
    assert lines[2].split() == ["import", "2.0000", "3.0000", "1.500"]
    assert lines[3].endswith("bit-identical") and lines[4].endswith("DIFFERENT")


def test_weights_differ_by_a_bit_or_a_name() -> None:
    weights = {"a": torch.ones(3)}
    assert same_weights(weights, {"a": torch.ones(3)})
    assert not same_weights(weights, {"a": torch.tensor([1, 1, 1 + 2**-23])})
    assert not same_weights(weights, {"b": torch.ones(3)})
    assert not same_weights(weights, {"a": torch.ones(3, dtype=torch.float64)})
    assert not same_weights({"a": torch.zeros(3)}, {"a": -torch.zeros(3)})


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    process = compare(str(ROOT), str(tmp_path))
    assert process.returncode == 2
    assert process.stderr == f"error: {tmp_path}: is no checkout of this project, it has no finetune.py\n"


@pytest.mark.slow
def test_this_checkout_beside_itself(tmp_path: Path) -> None:
    process = compare(str(ROOT), str(ROOT), "--rounds", "1", "--check", "--json", str(tmp_path / "versions.json"))
    assert process.returncode == 0, process.stderr
    report = read_json(tmp_path / "versions.json")
    assert report["same weights"] and report["same generations"]
    assert set(report["seconds"]) == {"import", "--help", "training step", "search of 16", "search of 1"}
