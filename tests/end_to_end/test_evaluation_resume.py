"""An evaluation that is killed and resumed writes what one writes that is not killed."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.commands import Command, refusal, run, run_as_torchrun, start_as_torchrun
from tests.mounts import fill, small_disk
from tests.tiny_setup import TinySetup
from utils.io.json_files import read_json

ROWS = 61  # of the train split
SAME_FILES = ("train_generations.txt", "train_example_scores.json")
BY_THE_CLOCK = ("latency_seconds", "sequences_per_second", "command", "processes", "batch_size")


def arguments(model: Path, setup: TinySetup, folder: Path, *flags: str) -> list[str]:
    return [str(model), str(setup.config), str(setup.data), str(folder), "--type_path", "train", "--bs", "2", *flags]


def lines(folder: Path) -> int:
    """Count the lines of all journals."""
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("train_journal.*.jsonl"))


def kill_at(commands: list[Command], folder: Path, rows: int) -> bool:
    """SIGKILL all processes once their journals have so many rows; False if they have ended before."""
    deadline = time.monotonic() + 120
    while lines(folder) < rows + len(commands):
        if not any(command.process.is_alive() for command in commands):
            return False
        assert time.monotonic() < deadline, commands[0].output
        time.sleep(0.001)
    killed = all(command.process.is_alive() for command in commands)
    for command in commands:
        command.process.kill()
        command.process.join()
    return killed and lines(folder) > 0


def assert_same(ours: Path, theirs: Path) -> None:
    """The same bytes, and a report that differs in times alone; no journal is left."""
    for name in SAME_FILES:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    reports = [read_json(folder / "train_rouge.json") for folder in (ours, theirs)]
    for report in reports:
        assert report["latency_seconds"]["mean"] > 0 and report["sequences_per_second"] > 0
        for name in BY_THE_CLOCK:
            del report[name]
    assert reports[0] == reports[1]
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}


@pytest.fixture(scope="module")
def whole(setup: TinySetup, talkative_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation that nothing interrupted. Read only."""
    folder = tmp_path_factory.mktemp("evaluation")
    run("run_eval.py", arguments(talkative_model, setup, folder / "whole"), folder / "log")
    return folder / "whole"


def test_killed_twice(setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path) -> None:
    """The second time with two processes; then one goes on alone, and evaluates nothing a second time."""
    folder = tmp_path / "results"
    flags = arguments(talkative_model, setup, folder, "--resume")
    assert kill_at([Command("run_eval.py", flags, tmp_path / "log")], folder, 10)
    known = lines(folder)
    commands = start_as_torchrun("run_eval.py", [flags] * 2, tmp_path / "log")
    assert kill_at(commands, folder, known + 10)
    assert f"train: {known - 1} of 61 summaries are in the journal" in commands[0].output
    output = run("run_eval.py", flags, tmp_path / "log")
    assert "of 61 summaries are in the journal" in output
    assert_same(folder, whole)
    output = run("run_eval.py", flags, tmp_path / "log")
    assert "complete; nothing is generated" in output and "train (61 examples, 2 beams): rouge1" in output
    assert_same(folder, whole)


def test_two_processes_go_on(setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path) -> None:
    """From folders of their own, as on machines that share none."""
    folders = [tmp_path / "first", tmp_path / "second"]
    flags = [arguments(talkative_model, setup, folder, "--resume") for folder in folders]
    commands = start_as_torchrun("run_eval.py", flags, tmp_path / "log")
    while min(map(lines, folders)) < 6:
        assert commands[0].process.is_alive()
        time.sleep(0.001)
    for command in commands:
        command.process.kill()
        command.process.join()
    known = sum(map(lines, folders)) - 2
    commands = start_as_torchrun("run_eval.py", flags, tmp_path / "log")
    assert [command.wait() for command in commands] == [0, 0], commands[0].output
    assert f"train: {known} of 61 summaries" in commands[0].output
    assert_same(folders[0], whole)
    assert list(folders[1].iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_told_to_end(
    setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """At the first signal; the journal has what was generated."""
    folder = tmp_path / "results"
    flags = arguments(talkative_model, setup, folder)
    command = Command("run_eval.py", flags, tmp_path / "log")
    while lines(folder) < 8:
        assert command.process.is_alive()
        time.sleep(0.001)
    os.kill(command.process.pid, number)
    start = time.monotonic()
    assert command.wait() == (130 if number == signal.SIGINT else 143)
    assert time.monotonic() - start < 10
    assert command.output.splitlines()[-2:] == [
        "interrupted: the journal has what was generated; the same command with --resume goes on",
        f"{number.name}: interrupted",
    ]
    known = lines(folder) - 1
    assert f"train: {known} of 61" in run("run_eval.py", [*flags, "--resume"], tmp_path / "log")
    assert_same(folder, whole)


def test_another_evaluation_is_refused(
    setup: TinySetup, whole_run: Path, talkative_model: Path, tmp_path: Path
) -> None:
    """In one line that names what differs; without --resume its journal is deleted."""
    folder = tmp_path / "results"
    flags = arguments(talkative_model, setup, folder)
    assert kill_at([Command("run_eval.py", flags, tmp_path / "log")], folder, 4)
    journal = (folder / "train_journal.0.jsonl").read_bytes()
    begin = f"error: --resume: {folder}/train_journal.0.jsonl is of another evaluation"
    end = f"; to begin anew, delete {folder}/train_journal.*.jsonl"
    other_model = arguments(whole_run / "best_tfmr", setup, folder)
    for other, difference in (
        ([*flags, "--eval_beams", "3", "--n_obs", "60"], "other texts, num_beams 2, now 3"),
        ([*flags, "--bf16"], "precision 'fp32', now 'bf16'"),
        (other_model, "other weights"),
    ):
        assert refusal("run_eval.py", [*other, "--resume"], tmp_path / "log") == f"{begin} ({difference}){end}"
        assert (folder / "train_journal.0.jsonl").read_bytes() == journal
    output = run("run_eval.py", other_model, tmp_path / "log")
    assert "journal" not in output and not lines(folder)
    (folder / "train_journal.0.jsonl").write_bytes(journal)
    output = run("run_eval.py", [*other_model, "--resume", "--discard_other_journal"], tmp_path / "log")
    warning = f"warning: {begin.removeprefix('error: --resume: ')} (other weights): it is deleted"
    assert output.count(warning) == 1 and not lines(folder)


def test_without_a_journal(setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path) -> None:
    """A script may always give --resume."""
    folder = tmp_path / "results"
    output = run("run_eval.py", arguments(talkative_model, setup, folder, "--resume"), tmp_path / "log")
    assert "train: there is no journal to go on from" in output
    assert_same(folder, whole)


def test_sampling_goes_on_as_if_not_killed(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """Two processes draw what one does; another size of the batches would draw otherwise, and is refused."""
    flags = ["--do_sample", "--eval_beams", "1", "--top_k", "0", "--seed", "7", "--resume"]
    run("run_eval.py", arguments(talkative_model, setup, tmp_path / "one", *flags), tmp_path / "log")
    two = arguments(talkative_model, setup, tmp_path / "two", *flags)
    assert kill_at([Command("run_eval.py", two, tmp_path / "log")], tmp_path / "two", 10)
    line = refusal("run_eval.py", [*two, "--bs", "3"], tmp_path / "log")
    assert "is of another evaluation (bs 2, now 3)" in line
    run_as_torchrun("run_eval.py", two, tmp_path / "log", processes=2)
    assert_same(tmp_path / "two", tmp_path / "one")


def test_a_disk_that_becomes_full(setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path) -> None:
    """One line names the journal, at once; with room again, what it has is not generated a second time."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        fill(disk, 8192)
        flags = arguments(talkative_model, setup, disk, "--resume")
        line = Command("run_eval.py", flags, tmp_path / "log")
        assert line.wait() == 2
        message = f"error: {disk}/train_journal.0.jsonl: cannot be written: No space left on device"
        assert line.output.splitlines()[-1].startswith(message) and "Traceback" not in line.output
        known = lines(disk) - 1
        assert 0 < known < ROWS
        (disk / "filler").unlink()
        assert f"train: {known} of 61" in run("run_eval.py", flags, tmp_path / "log")
        assert_same(disk, whole)


def test_a_process_that_hangs(setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path) -> None:
    """One line says so after the timeout; then one process goes on alone."""
    folder = tmp_path / "results"
    flags = arguments(talkative_model, setup, folder, "--resume", "--timeout", "2")
    commands = start_as_torchrun("run_eval.py", [flags] * 2, tmp_path / "log")
    while lines(folder) < 12:
        assert commands[0].process.is_alive()
        time.sleep(0.001)
    os.kill(commands[1].process.pid, signal.SIGSTOP)
    try:
        assert commands[0].wait() == 2
    finally:
        commands[1].process.kill()
    message = "error: --timeout 2: 1 of 2 processes are not done, and no batch has come since"
    assert commands[0].output.splitlines()[-1] == message and "Traceback" not in commands[0].output
    run("run_eval.py", flags, tmp_path / "log")
    assert_same(folder, whole)


def test_the_evaluation_at_the_end_of_a_training(setup: TinySetup, tmp_path: Path) -> None:
    """Killed, it goes on with --resume; if more steps are taken first, it begins anew, as the model is another."""
    flags = [*setup.training_flags, "--max_steps", "8", "--eval_batch_size", "1", "--n_test", "-1"]
    run("finetune.py", [*flags, "--output_dir", str(tmp_path / "whole")], tmp_path / "log")
    folder = tmp_path / "killed"
    flags += ["--output_dir", str(folder), "--resume"]
    command = Command("finetune.py", flags, tmp_path / "log")
    journal = folder / "test_journal.0.jsonl"
    while not journal.exists() or journal.read_bytes().count(b"\n") < 4:
        assert command.process.is_alive()
        time.sleep(0.001)
    command.process.kill()
    command.process.join()
    known = journal.read_bytes()
    output = run("finetune.py", flags, tmp_path / "log")
    assert f"test: {len(known.splitlines()) - 1} of 7 summaries are in the journal" in output
    assert not journal.exists()
    for name in ("test_generations.txt", "test_example_scores.json"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    journal.write_bytes(known)
    output = run("finetune.py", [*flags, "--long_documents", "chunk"], tmp_path / "log")
    warning = f"warning: {journal} is of another evaluation (long_documents 'truncate', now 'chunk'): it is deleted"
    assert output.count(warning) == 1
    assert "there is no journal to go on from" in output and not journal.exists()
    journal.write_bytes(known)
    assert "there is no journal to go on from" in run("finetune.py", [*flags, "--max_steps", "9"], tmp_path / "log")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_random(setup: TinySetup, talkative_model: Path, whole: Path, tmp_path: Path, processes: int) -> None:
    """50 times, at any moment: in the start, the search, the scoring and the page."""
    kills, evaluations, moments = 0, 0, random.Random(processes)
    while kills < 50:
        folder = tmp_path / str(evaluations)
        evaluations += 1
        flags = arguments(talkative_model, setup, folder, "--resume")
        for _ in range(moments.randint(1, 3)):
            commands = start_processes(flags, tmp_path / "log", processes)
            kills += strike(commands, moments.uniform(0, 1.3), folder, moments.random() < 0.3)
        for command in (last := start_processes(flags, tmp_path / "log", processes)):
            assert command.wait() == 0, last[0].output
        assert_same(folder, whole)
    print(f"{kills} kills of {evaluations} evaluations of {processes} processes")


def start_processes(flags: list[str], log: Path, count: int) -> list[Command]:
    if count == 1:
        return [Command("run_eval.py", flags, log)]
    return start_as_torchrun("run_eval.py", [flags] * count, log)


def strike(commands: list[Command], fraction: float, folder: Path, in_start: bool) -> bool:
    """SIGKILL all processes at a random moment of their work: 0 to 1 in the search, above behind it."""
    deadline = time.monotonic() + 120
    while not in_start and lines(folder) < min(1.0, fraction) * ROWS + len(commands):
        if not any(command.process.is_alive() for command in commands):
            return False
        assert time.monotonic() < deadline, commands[0].output
        time.sleep(0.001)
    time.sleep(fraction if in_start else max(0.0, fraction - 1) / 2)
    killed = any(command.process.is_alive() for command in commands)
    for command in commands:
        command.process.kill()
        command.process.join()
    return killed
