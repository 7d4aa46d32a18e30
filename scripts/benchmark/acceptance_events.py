"""A plugin for pytest that reports events as they happen, because a process that dies cannot report afterwards.

Run `pytest -p scripts.benchmark.acceptance_events` with BART_ACCEPTANCE_EVENTS set to a file. The plugin appends these
events to it, a line each:

    {"event": "selected", "tests": [...]}
    {"event": "started", "test": ...}
    {"event": "ended", "test": ..., "outcome": "passed" | "failed" | "skipped", "reason": ..., "seconds": ...,
     "figures": {...}}

Figures are those that a test gave to pytest's ``record_property``. A file that cannot be imported has an "ended" event
only. The plugin leaves out tests that the file names as started before. It stops the process after a failure: after an
error of its own, CUDA may do anything, so a fresh process must go on.
"""

import json
import os
import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark.gpu.test_run import EVENTS_VARIABLE

_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '(\w+)")
_MISSING_PACKAGE = re.compile(r"PackageNotFoundError: No package metadata was found for ([\w-]+)")


class _Events:
    def __init__(self, path: Path) -> None:
        self._path = path
        events = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        self._earlier = {event["test"] for event in events if event["event"] == "started"}
        self._reports: list[pytest.TestReport] = []  # of the test that runs: its set-up, itself, its clean-up
        self._session: pytest.Session | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.outcome != "passed":
            self._tell("ended", test=report.nodeid, **_result([report]), seconds=0.0, figures={})

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if item.nodeid not in self._earlier]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._tell("selected", tests=[item.nodeid for item in session.items])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._reports = []
        self._tell("started", test=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        seconds = round(sum(report.duration for report in self._reports), 3)
        figures = dict(pair for report in self._reports for pair in report.user_properties)
        self._tell("ended", test=nodeid, **_result(self._reports), seconds=seconds, figures=figures)
        if self._session is not None and any(report.failed for report in self._reports):
            self._session.shouldstop = "a test failed: the others run in a fresh process"

    def _tell(self, event: str, **content: Any) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **content}) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Events(Path(os.environ[EVENTS_VARIABLE])))


def _result(reports: Sequence[pytest.TestReport | pytest.CollectReport]) -> dict[str, str | None]:
    for report in reports:
        if report.failed:
            # The text of a test that starts programs ends with what they printed.
            missing = _missing_package(report.longreprtext)
            if missing is not None:
                return {"outcome": "skipped", "reason": f"needs {missing}, which is not installed"}
            return {"outcome": "failed", "reason": _what_failed(report)}
    for report in reports:
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
            return {"outcome": "skipped", "reason": reason.removeprefix("Skipped: ")}
    return {"outcome": "passed", "reason": None}


def _missing_package(text: str) -> str | None:
    """Return the package that a traceback reports missing, or None; a missing module of this project does not count."""
    missing = [name for name in _MISSING_MODULE.findall(text) if find_spec(name) is None]
    return next(iter(missing + _MISSING_PACKAGE.findall(text)), None)


def _what_failed(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return f"{Path(crash.path).name}:{crash.lineno}: {crash.message}"
    return (report.longreprtext.strip().splitlines() or ["no reason was given"])[-1]
