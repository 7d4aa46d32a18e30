"""Two runs in one folder: the second is refused, and the first does not notice."""

import os
import signal
from pathlib import Path

from tests.commands import Command, refusal, run, start_as_torchrun
from tests.end_to_end.test_resume import STEPS, resumable_flags
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup


def test_a_second_run_is_refused_until_the_first_is_killed(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """With workers, which outlive it by a moment; resumed at once, it ends as if nothing had happened."""
    results = tmp_path / "results"
    flags = [*resumable_flags(setup, results), "--num_workers", "2"]
    first = Command("finetune.py", flags, tmp_path / "log")
    first.wait_for("step 4/")
    os.kill(first.process.pid, signal.SIGSTOP)  # or it would end meanwhile
    before = sorted(results.rglob("*"))
    for more in ([], ["--no-resume", "--overwrite_output_dir"]):
        line = refusal("finetune.py", [*flags, *more], tmp_path / "log2")
        assert line.startswith(f"error: --output_dir {results}: is in use by another run (process {first.process.pid} ")
    arguments = [str(whole_run / "best_tfmr"), str(setup.config), str(setup.data), str(results)]
    assert f"SAVE_PATH {results}: is in use" in refusal("run_eval.py", arguments, tmp_path / "log2")
    assert sorted(results.rglob("*")) == before
    first.process.kill()
    assert first.wait() == -signal.SIGKILL
    run("finetune.py", flags, tmp_path / "log")
    assert_same_end(results, whole_run, STEPS)
    assert not list(results.glob(".*"))


def test_a_run_of_two_processes_holds_it_too(setup: TinySetup, tmp_path: Path) -> None:
    flags = [*setup.training_flags, "--max_steps", "100000", "--output_dir", str(tmp_path / "results")]
    commands = start_as_torchrun("finetune.py", [flags] * 2, tmp_path / "log")
    try:
        commands[0].wait_for("step 3/")
        line = refusal("finetune.py", [*flags, "--resume"], tmp_path / "log")
        assert "is in use by another run" in line
    finally:
        for command in commands:
            command.process.kill()
