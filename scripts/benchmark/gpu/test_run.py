"""Run the tests that need a GPU, going on after each failure.

A process of pytest runs tests until one fails, hangs or ends the process; another process goes on with the rest.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bart.errors import InputError
from scripts.benchmark.gpu.machine import describe
from utils.io.json_files import write_json

if TYPE_CHECKING:
    from scripts.benchmark.gpu_acceptance import AcceptanceArguments

ROOT = Path(__file__).parents[3]
EVENTS_VARIABLE = "BART_ACCEPTANCE_EVENTS"  # names the file that acceptance_events writes to
_SECONDS_BETWEEN_LOOKS = 0.1
_STOPPED = (0, 1, 2, 5)  # pytest's exit codes for a regular end: 5 is no test; 3 and 4 are errors of its own


@dataclass
class Progress:
    """The events that one process of pytest has reported, and how it was ended."""

    selected: list[str] | None = None  # None until all files are read
    results: dict[str, dict[str, Any]] = field(default_factory=dict)  # by the test's name: outcome, reason, seconds
    running: str | None = None
    last_told: float = field(default_factory=time.monotonic)
    ended: str = ""  # why it was ended; empty after a regular end

    def silent_for(self) -> float:
        """Return the seconds since its last event: those of the running test, or of the process's end."""
        return time.monotonic() - self.last_told

    def take(self, line: str) -> None:
        """Read an event."""
        event = json.loads(line)
        self.last_told = time.monotonic()
        if event["event"] == "selected":
            self.selected = event["tests"]
        elif event["event"] == "started":
            self.running = event["test"]
        else:
            self.running = None
            self.results[event["test"]] = {name: event[name] for name in ("outcome", "reason", "seconds", "figures")}


class Acceptance:
    """A run over all tests, and its report so far."""

    def __init__(self, arguments: "AcceptanceArguments") -> None:
        self.arguments = arguments
        self.folder = Path(arguments.output_dir)
        self.started = time.monotonic()
        self._limit = f"the limit of {arguments.seconds:g} seconds for all"
        self.log, self.events = self.folder / "gpu_acceptance.log", self.folder / "events.jsonl"
        for path in (self.log, self.events):
            path.write_text("")
        self.report: dict[str, Any] = {"finished": False, "device": arguments.device, **describe(arguments.device)}
        self.results: dict[str, dict[str, Any]] = {}
        self.problems: list[str] = []  # of no single test

    def run(self) -> None:
        """Start processes until every test has a result, the time is over, or a process reports nothing."""
        names: list[str] | None = None  # of all tests
        while names is None or not self.results.keys() >= set(names):
            if self._is_over():
                self.problems.append(self._limit)
                break
            known = len(self.results)
            progress = self._run_process()
            names = progress.selected if names is None else names
            if self._is_over():
                continue
            told_nothing = len(self.results) == known
            if (progress.ended and progress.running is None) or (told_nothing and names != []):
                ended = progress.ended or "pytest reported nothing"
                self.problems.append(f"{ended}; its last line: {self._last_line()}")
            if told_nothing:
                break
        for name in names or []:
            reason = self.problems[-1] if self.problems else None
            self.results.setdefault(name, {"outcome": "not run", "reason": reason, "seconds": 0.0, "figures": {}})
        self._write(finished=True)
        self.events.unlink()
        if not self.results and not self.problems:
            raise InputError(f"--keyword {self.arguments.keyword}: no test in {self.arguments.tests} matches")

    def _is_over(self) -> bool:
        return time.monotonic() > self.started + self.arguments.seconds

    def _run_process(self) -> Progress:
        """Run the remaining tests until one fails or all have ended, and add their results."""
        progress = Progress()
        with self.log.open("ab") as log, self.events.open(encoding="utf-8") as told:
            told.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                self._command(), cwd=ROOT, env=self._environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                while process.poll() is None and not progress.ended:
                    self._take(progress, told)
                    if self._is_over():
                        progress.ended = self._limit
                    elif progress.selected is not None and progress.silent_for() > self.arguments.test_limit:
                        progress.ended = f"the limit of {self.arguments.test_limit:g} seconds for a test"
                    time.sleep(_SECONDS_BETWEEN_LOOKS)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # with all processes that its tests have started
                process.wait()
            self._take(progress, told)
        if not progress.ended and process.returncode not in _STOPPED:
            progress.ended = f"pytest ended with exit code {process.returncode}"
        if progress.running is not None:
            seconds = round(progress.silent_for(), 3)
            reason = progress.ended or "the process ended within the test"
            failed = {"outcome": "failed", "reason": reason, "seconds": seconds, "figures": {}}
            progress.results[progress.running] = failed
            self._add(progress.running, progress.results[progress.running])
        return progress

    def _take(self, progress: Progress, told: Any) -> None:
        """Read new events; leave an incomplete last line for later."""
        while True:
            start = told.tell()
            line = told.readline()
            if not line.endswith("\n"):
                told.seek(start)
                return
            progress.take(line)
            for name in progress.results.keys() - self.results.keys():
                self._add(name, progress.results[name])

    def _add(self, name: str, result: dict[str, Any]) -> None:
        self.results[name] = result
        print(f"{result['outcome']:8} {result['seconds']:7.1f} s  {name}", flush=True)
        for figure, value in result["figures"].items():
            print(f"{'':20}{figure}: {value}", flush=True)
        self._write(finished=False)  # in case this process is ended

    def _write(self, finished: bool) -> None:
        self.report |= {
            "finished": finished,
            "seconds": round(time.monotonic() - self.started, 1),
            "counts": dict(Counter(result["outcome"] for result in self.results.values())),
            "problems": self.problems,
            "tests": [{"test": name, **result} for name, result in self.results.items()],
        }
        write_json(self.folder / "gpu_acceptance.json", self.report)

    def _last_line(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")

    def _command(self) -> list[str]:
        """Return the command of pytest, whose faulthandler logs the line at which a test hangs."""
        plugins = ["-p", "scripts.benchmark.acceptance_events", "-p", "no:cacheprovider"]
        options = ["-c", "pyproject.toml", "-o", f"faulthandler_timeout={0.9 * self.arguments.test_limit}"]
        options += ["-m", "gpu", "-v", "--continue-on-collection-errors"]
        if self.arguments.keyword is not None:
            options += ["-k", self.arguments.keyword]
        return [sys.executable, "-m", "pytest", *plugins, *options, self.arguments.tests]

    def _environment(self) -> dict[str, str]:
        added = {"BART_TEST_DEVICE": self.arguments.device, EVENTS_VARIABLE: str(self.events.resolve())}
        added |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        if self.arguments.device == "cpu":
            added |= {"CUDA_VISIBLE_DEVICES": ""}
        return {"OMP_NUM_THREADS": "1", **os.environ, **added}  # for small models, threads would only wait


def summary(report: dict[str, Any]) -> Iterator[str]:
    yield ""
    for outcome in ("skipped", "not run", "failed"):
        for test in report["tests"]:
            if test["outcome"] == outcome:
                yield f"{outcome}: {test['test']}: {' '.join((test['reason'] or '').split())[:300]}"
    yield from (f"problem: {problem}" for problem in report["problems"])
    if report["missing_packages"]:
        yield f"not installed: {', '.join(report['missing_packages'])}"
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report["counts"].items()))
    yield f"{counts or 'no tests'} in {report['seconds']:.0f} s on {report['gpu'] or 'the CPU'}"
