"""Run the rows of a part, each in a process that may crash or hang, and write every figure the moment it is known.

Shapes of the report, partN.json: {"part": N, "finished": ..., "rows": [{"row": ..., "outcome": ..., "reason": ...,
"figures": {...}, ...}]}. A part that is killed leaves what it has found so far.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

from scripts.benchmark.gpu.rows import Row
from utils.io.json_files import write_json

ROOT = Path(__file__).parents[3]
_FEWEST_SECONDS, _TIMES_EXPECTED = 60, 3  # a row may take that many times what is expected, but not less than 60 s
_GRACE = 3.0  # seconds that a process gets to end its own processes


class RowProcess:
    """A process of worker.py, in a session of its own together with what it starts."""

    def __init__(self, row: Row, device: str, models: Path, results: Path, log: BinaryIO) -> None:
        """Start it. It measures rows of the same ``row.process``."""
        added = {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **row.environment}
        if device == "cpu":
            added |= {"CUDA_VISIBLE_DEVICES": ""}
        self.name = row.process
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.benchmark.gpu.worker", device, str(models), str(results)],
            cwd=ROOT, env={**os.environ, **added}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def ask(self, row: Row, device: str) -> None:
        """Begin to measure a row."""
        assert self._process.stdin is not None
        request = json.dumps({"kind": row.kind, "settings": row.settings_on(device)})
        with suppress(BrokenPipeError):  # then there will be no answer
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()

    def answer(self, deadline: float) -> dict[str, Any] | None:
        """Return the next answer; None after the deadline. A process that has ended answers that its row failed."""
        try:
            line = self._answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        return {"outcome": "failed", "reason": f"its process ended with exit code {self._process.wait()}"}

    def end(self) -> None:
        """End the process and all that it has started."""
        for number, grace in ((signal.SIGTERM, _GRACE), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)


@dataclass
class Part:
    """A part's rows, and its report so far."""

    number: int
    rows: list[Row]
    device: str
    folder: Path
    time_limit: float  # seconds
    described: dict[str, Any]  # the machine, for the report

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._limit = f"the limit of {self.time_limit:g} seconds for the part"
        self._process: RowProcess | None = None
        self._on = ", ".join(filter(None, (self.described["gpu"] or "CPU", _versions(self.described))))
        self.entries = [self._entry(row) for row in self.rows]

    def _entry(self, row: Row) -> dict[str, Any]:
        settings = row.settings_on(self.device)
        entry = {"row": row.name, "outcome": "not run", "reason": None, "seconds": 0.0, "on": self._on}
        return entry | {"environment": row.environment, "settings": settings, "figures": {}}

    def run(self) -> dict[str, Any]:
        """Measure the rows in order until all are done or the time is over; return the report."""
        with tempfile.TemporaryDirectory() as models, (self.folder / f"part{self.number}.log").open("ab") as log:
            try:
                for row, entry in zip(self.rows, self.entries, strict=True):
                    missing = [name for name in row.packages if find_spec(name) is None]
                    if missing:
                        entry |= {"outcome": "skipped", "reason": f"needs {', '.join(missing)}, which is not installed"}
                    elif self._seconds() > self.time_limit:
                        entry["reason"] = self._limit
                    else:
                        self._measure(row, entry, Path(models), log)
                    self._show(entry)
                    self._write(finished=False)
            finally:
                self._end_process()
        return self._write(finished=True)

    def _measure(self, row: Row, entry: dict[str, Any], models: Path, log: BinaryIO) -> None:
        """Measure a row in the process of the one before, if that suits, or in a new one."""
        if self._process is None or self._process.name != row.process:
            self._end_process()
            self._process = RowProcess(row, self.device, models, self.folder, log)
        started, most = time.monotonic(), max(_FEWEST_SECONDS, _TIMES_EXPECTED * row.seconds)
        deadline = min(started + most, self._started + self.time_limit)
        self._process.ask(row, self.device)
        entry["outcome"] = "running"
        while entry["outcome"] == "running":
            answer = self._process.answer(deadline)
            if answer is None:
                over = self._seconds() >= self.time_limit
                answer = {"outcome": "failed", "reason": self._limit if over else f"its limit of {most:g} seconds"}
            entry["figures"] |= answer.pop("figures", {})
            entry |= {**answer, "seconds": round(time.monotonic() - started, 1)}
            self._write(finished=False)
        if entry["outcome"] == "failed":
            self._end_process()  # after an error of its own, CUDA may do anything

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _show(self, entry: dict[str, Any]) -> None:
        print(f"{entry['outcome']:8} {entry['seconds']:6.1f} s  {entry['row']}: {headline(entry)}", flush=True)

    def _write(self, finished: bool) -> dict[str, Any]:
        counts = dict(Counter(entry["outcome"] for entry in self.entries))
        report = {"part": self.number, "finished": finished, "device": self.device, **self.described, "counts": counts}
        report |= {"seconds": round(self._seconds(), 1), "rows": self.entries}
        write_json(self.folder / f"part{self.number}.json", report)
        return report


def headline(entry: dict[str, Any]) -> str:
    """Write a row's main figures, or why there are none, in a line."""
    found = entry["figures"]
    words = [
        f"{found[name]['median']:,.5g} {name.replace('_per_second', '/s')}"
        for name in ("tokens_per_second", "sequences_per_second")
        if name in found
    ]
    plain = ["share_of_peak", "peak_gb", "gb_per_sequence", "largest_batch", "milliseconds", "launches", "host_share"]
    plain += ["times_as_many_as_published", "largest_difference", "test_sequences_per_second", "counts"]
    words += [f"{name.replace('_', ' ')} {found[name]}" for name in plain if name in found]
    return "; ".join([*([entry["reason"]] if entry["reason"] else []), *words])


def _versions(described: dict[str, Any]) -> str:
    return f"torch {described['packages'].get('torch')}, commit {described['git_commit']}"
