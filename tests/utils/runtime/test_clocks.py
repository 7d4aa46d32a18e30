"""Durations are measured by the monotonic clock: that of the day may be set at any time, forwards and backwards."""

import ast
import re
from pathlib import Path

import pytest

from utils.runtime.progress import ProgressBar

ROOT = Path(__file__).parents[3]
# What follows the clock of the day, by module.
OF_THE_DAY = {
    "time": {"time", "time_ns", "localtime", "gmtime", "clock_gettime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
    "tqdm": {"tqdm", "trange"},
}
SHELL = re.compile(r"\bSECONDS\b|\bEPOCH(?:SECONDS|REALTIME)\b|date \+%s")
MAY_USE_TQDM = {"utils/runtime/progress.py"}  # it gives the bars another clock


def uses(path: Path) -> list[str]:
    """The lines of a file that ask for the time of the day."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = {alias.name for alias in node.names} & OF_THE_DAY.get(node.module or "", set())
        elif isinstance(node, ast.Attribute):
            names = {node.attr} & OF_THE_DAY.get(ast.unparse(node.value).rpartition(".")[2], set())
            names -= {"tqdm"}
        else:
            continue
        found += [f"{path.relative_to(ROOT)}:{node.lineno}: {name}" for name in sorted(names)]
    return found


def test_no_program_measures_by_the_clock_of_the_day() -> None:
    files = [path for part in ("bart", "utils", "scripts") for path in (ROOT / part).rglob("*.py")]
    assert len(files) > 200
    found = [use for path in files if str(path.relative_to(ROOT)) not in MAY_USE_TQDM for use in uses(path)]
    assert found == []


def test_no_script_measures_by_the_clock_of_the_day() -> None:
    for path in (ROOT / "scripts").rglob("*.sh"):
        lines = [line.partition("# ")[0] for line in path.read_text(encoding="utf-8").splitlines()]
        assert not [line for line in lines if SHELL.search(line)], path


def test_a_bar_goes_on_if_the_clock_is_set_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By that clock, it would show nothing for an hour, and then a time below zero."""
    now = 1e9
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    bar = ProgressBar(total=10, mininterval=0)
    now -= 3600
    bar.update(4)
    shown = capsys.readouterr().err
    bar.close()
    assert "4/10 [00:" in shown, shown
