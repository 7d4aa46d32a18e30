"""The script of docs/many_texts.md, with two workers of Ray Data. The job is killed, and later one of the workers.

Ray is installed into a folder of its own, which needs a package index: hence slow.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.end_to_end.other_packages import install, python_block, texts_of_the_corpus
from utils import Summarizer

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/bart_mini"
FILES, TEXTS, ROWS = 5, 60, 12  # rows of a task
WORKERS = [2, 0, 0]  # and the CPUs and GPUs of each: Ray needs two CPUs for itself, and a small machine has no more

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """One in which this project looks installed, and Ray is."""
    (packages,) = re.findall('pip install . "(ray.*)"', (ROOT / "docs/many_texts.md").read_text())
    folder = tmp_path_factory.mktemp("ray")
    install(folder, packages)
    (folder / "bart").symlink_to(ROOT / "bart")
    (folder / "bart_summarization").symlink_to(ROOT / "utils")
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "RAY_DEDUP_LOGS": "0"}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return texts_of_the_corpus(FILES * TEXTS)


def summaries_in(folder: Path) -> list[tuple[int, str]]:
    tables = [pq.read_table(file) for file in sorted(folder.glob("*.parquet"))]
    return [(row["id"], row["summary"]) for table in tables for row in table.to_pylist()]


def processes_of(parent: int) -> dict[int, str]:
    """Return id and title of all processes that come from one."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    found: dict[int, str] = {}
    for _ in range(4):
        found |= {int(child): title for child, above, title in rows if int(above) in {parent, *found}}
    return found


class Job:
    """The script, running."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.log = folder / "log"
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        for _ in range(6000):
            if condition():
                return
            assert self.process.poll() is None, self.log.read_text()[-4000:]
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-4000:])

    def kill(self) -> None:
        """Kill it, and wait for the processes that it started: most end by themselves, Ray's agents after minutes."""
        started = list(processes_of(self.process.pid))
        self.process.kill()
        self.process.wait()
        for _ in range(100):
            time.sleep(0.1)
            started = [number for number in started if Path(f"/proc/{number}").exists()]
        for number in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)


def test_the_job_is_killed_and_then_a_worker(environment: dict[str, str], texts: list[str], tmp_path: Path) -> None:
    script, source, target = (tmp_path / name for name in ("summarize_ray.py", "texts", "summaries"))
    script.write_text(python_block("docs/many_texts.md"))
    source.mkdir()
    for number in range(FILES):
        rows = range(number * TEXTS, (number + 1) * TEXTS)
        pq.write_table(pa.table({"id": list(rows), "text": [texts[row] for row in rows]}), source / f"{number}.parquet")
    command = [sys.executable, str(script), *map(str, [MODEL, source, target, *WORKERS, ROWS])]

    def files() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in target.glob("*.parquet")}

    job = Job(command, environment, tmp_path)
    try:
        job.wait_until(lambda: len(files()) >= 6)
    finally:
        job.kill()
    before = files()
    written = len(summaries_in(target))
    assert 0 < written < len(texts)

    # Started again, it does the rest, though one of its workers is killed.
    job = Job(command, environment, tmp_path)
    try:
        job.wait_until(lambda: len(files()) >= len(before) + 3)
        workers = [number for number, title in processes_of(job.process.pid).items() if "(Summaries)" in title]
        assert len(workers) == WORKERS[0]
        os.kill(workers[0], signal.SIGKILL)
        assert job.process.wait(900) == 0, job.log.read_text()[-4000:]
    finally:
        if job.process.poll() is None:
            job.kill()
    rows = summaries_in(target)
    assert sorted(row for row, _ in rows) == list(range(len(texts)))
    kept = [name for name, content in files().items() if before.get(name) == content]
    print(f"{written} summaries when the job was killed, in {len(before)} files, of which {len(kept)} were kept")
    assert len(kept) >= len(before) - WORKERS[0]  # a file whose ids were not written yet is removed

    expected = Summarizer.from_pretrained(str(MODEL), device="cpu")(texts)
    differing = [row for row, summary in rows if summary != expected[row]]
    print(f"{len(differing)} of {len(texts)} differ from those of one call")
    assert not differing
