"""The clock of the day jumps all the time, forwards and backwards, for a whole training and its evaluation.

It is set by libfaketime (github.com/wolfcw/libfaketime): `pip install libfaketime` or `apt-get install faketime`.
"""

import importlib.util
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT, run
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoints
from utils.io.json_files import read_json

JUMPS = ["+1h", "-1h", "+40d", "-2d", "+0"]


def find_library() -> Path | None:
    """Of the system, or in the package of Python's registry."""
    name = "libfaketime.so.1"
    found = [*Path("/usr").glob(f"lib*/faketime/{name}"), *Path("/usr").glob(f"lib*/*/faketime/{name}")]
    package = importlib.util.find_spec("libfaketime")
    for folder in (package and package.submodule_search_locations) or []:
        found += Path(folder).rglob(name)
    return found[0] if found else None


LIBRARY = find_library()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(LIBRARY is None, reason="no libfaketime here")]


def run_with_jumps(command: list[str], folder: Path) -> tuple[str, float]:
    """Run a command while its clock jumps every 50 ms; returns its output and the seconds that it took."""
    started = time.monotonic()
    offset, log = folder / "offset", folder / "jumping.log"
    offset.write_text("+0")
    faked = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    environment = {**os.environ, **faked, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        for jump in itertools.cycle(JUMPS):
            (folder / "next").write_text(jump)
            (folder / "next").replace(offset)
            time.sleep(0.05)
            if process.poll() is not None:
                break
    assert process.returncode == 0, log.read_text()
    return log.read_text(), time.monotonic() - started


def test_the_clock_does_jump(tmp_path: Path) -> None:
    """Of the day; the other one, by which durations are measured, does not."""
    watch = (
        "import time; found = [];"
        "[(found.append((time.time(), time.monotonic())), time.sleep(0.04)) for _ in range(50)];"
        "steps = list(zip(found, found[1:]));"
        "print(max(b[0] - a[0] for a, b in steps), min(b[0] - a[0] for a, b in steps), found[-1][1] - found[0][1])"
    )
    forwards, backwards, watched = map(float, run_with_jumps(["-c", watch], tmp_path)[0].split())
    assert forwards > 3600 and backwards < -3600 and 1.9 < watched < 20


def test_a_training_and_its_evaluation_go_on(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    output, seconds = run_with_jumps(["finetune.py", *setup.training_flags, "--output_dir", str(results)], tmp_path)
    assert_same_end(results, whole_run, 20)
    names = [[path.name for path in checkpoints(folder)] for folder in (results, whole_run)]
    assert names[0] == names[1]  # none was due after half an hour
    metrics = read_json(results / "metrics.json")
    rates = [record["sequences_per_second"] for record in metrics["speed"]]
    assert all(1 / seconds < rate < 1e5 for rate in rates)
    remaining = [line.rpartition("remaining ")[2] for line in output.splitlines() if "remaining " in line]
    assert remaining and all(text.startswith("0:0") for text in remaining), remaining

    texts = [str(results / "best_tfmr"), str(setup.config), str(setup.data)]
    _, seconds = run_with_jumps(["run_eval.py", *texts, str(tmp_path / "jumping"), "--bs", "2"], tmp_path)
    run("run_eval.py", [*texts, str(tmp_path / "quiet"), "--bs", "2"], tmp_path / "log")
    summaries = [(tmp_path / name / "test_generations.txt").read_text() for name in ("jumping", "quiet")]
    assert summaries[0] == summaries[1]
    report = read_json(tmp_path / "jumping" / "test_rouge.json")
    assert all(0 < value < seconds for value in report["latency_seconds"].values())
    assert 1 / seconds < report["sequences_per_second"] < 1e5
