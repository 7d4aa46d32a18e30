"""The soak of scripts/benchmark, in short: a few kills of each kind."""

import subprocess
from pathlib import Path

import pytest

from scripts.benchmark.soak import soak
from tests.commands import ROOT


@pytest.mark.parametrize(("mode", "kills"), [("train", 4), ("save", 2), ("ranks", 2)])
def test_every_kill_is_survived(tmp_path: Path, mode: str, kills: int) -> None:
    result = soak(mode, kills, seed=3, folder=tmp_path)
    assert result.faults == [] and result.survived == result.kills >= kills
    if mode == "save":
        assert result.places["in a save"] >= kills
    if mode == "ranks":
        assert result.slowest_end < 30


@pytest.mark.parametrize("arguments", [["--mode=often"], ["train"]])
def test_wrong_arguments_are_one_line(arguments: list[str]) -> None:
    script = ROOT / "scripts" / "benchmark" / "soak.sh"
    process = subprocess.run(["bash", script, *arguments], capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
