"""A job of a real SLURM: queued again in the midst of training, it ends like one that nothing interrupted."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.slurm_cluster import SlurmCluster, what_is_missing
from tests.end_to_end.test_resume import STEPS
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]
MISSING = what_is_missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(MISSING is not None, reason=f"no SLURM here: {MISSING}"),
]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SlurmCluster]:
    folder = tmp_path / "cluster"
    folder.mkdir()
    cluster = SlurmCluster(folder)
    yield cluster
    cluster.stop()


def wait_for(path: Path, text: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists() or text not in path.read_text(encoding="utf-8"):
        assert time.monotonic() < deadline, path.read_text(encoding="utf-8") if path.exists() else f"no {path}"
        time.sleep(0.05)


def test_a_job_that_is_queued_again(cluster: SlurmCluster, setup: TinySetup, tmp_path: Path) -> None:
    """By the warning before the time limit, which SLURM itself sends to the batch shell in the same way."""
    positionals = [setup.data, setup.config, 0, 1e-3, 4, 2, "fp32", STEPS, 5, 64, 16, 2, 8, 3, 0.5, 50]
    flags = ["--model_name_or_path", "scratch", "--tokenizer_name_or_path", str(setup.tokenizer), "--no-freeze_embeds"]
    arguments = [*map(str, positionals), *flags, "--save_checkpoint_steps", "3", "--log_every_n_steps", "1"]
    environment = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    whole, results, output = tmp_path / "whole", tmp_path / "results", tmp_path / "output"

    submitted = subprocess.run(
        ["sbatch", "--parsable", f"--output={output}", "scripts/slurm/run_summarization.sbatch", *arguments],
        cwd=ROOT,
        env={**cluster.environment, **environment, "RESULTS_DIR": str(results)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert submitted.returncode == 0, submitted.stderr
    job = submitted.stdout.strip()
    wait_for(results / "joblog.log", "step 7/")
    cluster.ask("scancel", "--batch", "--signal=USR1", job)
    wait_for(output, "queued again, starts")
    deadline = time.monotonic() + 120
    while "JobState=PENDING" not in (described := cluster.ask("scontrol", "show", "job", job)):
        assert time.monotonic() < deadline, described
        time.sleep(0.2)
    assert "Restarts=1" in described
    assert f"step {STEPS}/" not in (results / "joblog.log").read_text()
    assert not (results / "test_rouge.json").exists()
    # SLURM waits two minutes before a second start. Some seconds do, too; at once, it takes the permission to start for
    # the first one's, which it has just withdrawn.
    time.sleep(5)
    cluster.ask("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_for(results / "joblog.log", "resuming from")
    deadline = time.monotonic() + 300
    while "JobState=COMPLETED" not in (described := cluster.ask("scontrol", "show", "job", job)):
        assert "JobState=FAILED" not in described, described
        assert time.monotonic() < deadline, described + (results / "joblog.log").read_text()
        time.sleep(0.5)

    uninterrupted = subprocess.run(
        ["bash", str(ROOT / "scripts" / "run_summarization.sh"), *arguments],
        env={**os.environ, **environment, "RESULTS_DIR": str(whole)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert uninterrupted.returncode == 0, uninterrupted.stdout
    assert_same_end(results, whole, STEPS)
    assert read_json(results / "test_rouge.json")["n_obs"] == 7
