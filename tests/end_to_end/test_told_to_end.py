"""Ctrl-C, SIGTERM and SLURM's SIGUSR1: a checkpoint, an exit code that says so, and nothing after it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.commands import ROOT, Command, run, run_as_torchrun, start_as_torchrun
from tests.end_to_end.test_many_machines import wait_for
from tests.end_to_end.test_resume import STEPS, resumable_flags
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints, is_intact

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}


@pytest.mark.parametrize("number", CODES)
def test_a_checkpoint_and_the_code(setup: TinySetup, whole_run: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Between two regular saves; gone on with, the run ends bit for bit as if it had not been told."""
    flags = [*resumable_flags(setup, tmp_path), "--save_checkpoint_steps", "1000", "--num_workers", "2"]
    command = Command("finetune.py", flags, tmp_path / "log")
    command.wait_for("step 6/")
    for pid in [command.process.pid, *children(command.process.pid)]:  # as a terminal does, and SLURM
        os.kill(pid, number)
    assert command.wait() == CODES[number], command.output
    step = checkpoint_step(checkpoints(tmp_path)[-1])
    assert command.output.splitlines()[-2:] == last_lines(f"--output_dir {tmp_path}", step, number)
    assert not (tmp_path / "best_tfmr").exists()
    run("finetune.py", flags, tmp_path / "log")
    assert_same_end(tmp_path, whole_run, STEPS)


def last_lines(folder: str, step: int, number: signal.Signals) -> list[str]:
    return [
        f"interrupted: saved at step {step}; the same command with {folder} and --resume continues it",
        f"{number.name}: interrupted",
    ]


def test_told_again_it_ends_at_once(setup: TinySetup, tmp_path: Path) -> None:
    """In a batch of a validation that takes long, after which it would have saved."""
    shutil.copytree(setup.data, tmp_path / "data", ignore=shutil.ignore_patterns(".prepared"))
    for side in ("source", "target"):
        path = tmp_path / "data" / f"val.{side}"
        path.write_bytes(path.read_bytes() * 1000)
    layers = dict.fromkeys(["encoder_layers", "decoder_layers"], 8)
    (tmp_path / "config.json").write_text(json.dumps(json.loads(setup.config.read_text()) | layers))
    flags = [*resumable_flags(setup, tmp_path / "results"), "--data_dir", str(tmp_path / "data")]
    flags += ["--config_path", str(tmp_path / "config.json")]
    flags += ["--save_checkpoint_steps", "1", "--eval_batch_size", "13000"]
    command = Command("finetune.py", flags, tmp_path / "log")
    command.wait_for("step 4/")
    os.kill(command.process.pid, signal.SIGINT)
    time.sleep(2.5)
    assert command.process.is_alive() and "SIGINT: a checkpoint is saved at the next step's end" in command.output
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait() == 130
    assert "validation:" not in command.output and "interrupted: saved" not in command.output
    assert checkpoints(tmp_path / "results")[-1].name == "_epoch0_step3.ckpt"


@pytest.mark.parametrize(("how", "step"), [("searched", 4), ("drawn", 8), ("teacher-forced", 8)])
def test_a_validation_is_left_at_once(setup: TinySetup, tmp_path: Path, how: str, step: int) -> None:
    """After the last step too; gone on with, the validation begins again, and all ends as if it had not been told."""
    flags = [*setup.training_flags, "--max_steps", "8", *validation_flags(setup, tmp_path, how)]
    run("finetune.py", [*flags, "--output_dir", str(tmp_path / "whole")], tmp_path / "log")
    results = tmp_path / "told"
    flags += ["--output_dir", str(results), "--resume", "--save_checkpoint_steps", "1000"]
    command = Command("finetune.py", flags, tmp_path / "log")
    command.wait_for(f"step {step}/")
    time.sleep(0.1)
    os.kill(command.process.pid, signal.SIGTERM)
    assert command.wait() == 143, command.output
    assert f"step {step}/8  validation" not in command.output
    assert command.output.splitlines()[-2:] == last_lines(f"--output_dir {results}", step, signal.SIGTERM)
    if how == "drawn":  # told a second time, in the validation that the resumed run begins with
        command = Command("finetune.py", flags, tmp_path / "log")
        command.wait_for("resuming from")
        time.sleep(0.7)
        os.kill(command.process.pid, signal.SIGTERM)
        assert command.wait() == 143, command.output
    assert f"step {step}/8  validation" in run("finetune.py", flags, tmp_path / "log")
    assert_same_end(results, tmp_path / "whole", 8)


@pytest.mark.parametrize("told", [[1], pytest.param([0, 1], marks=pytest.mark.slow)])
def test_all_processes_leave_a_validation(setup: TinySetup, tmp_path: Path, told: list[int]) -> None:
    """Whichever of them receives the signal; the other one ends its search first, and the checkpoint is whole."""
    flags = [*setup.training_flags, "--max_steps", "8", *validation_flags(setup, tmp_path, "searched")]
    flags += ["--gradient_accumulation_steps", "1"]
    whole = [*flags, "--output_dir", str(tmp_path / "whole")]
    run_as_torchrun("finetune.py", whole, tmp_path / "log", processes=2)
    flags += ["--output_dir", str(tmp_path / "told"), "--resume", "--save_checkpoint_steps", "1000"]
    commands = start_as_torchrun("finetune.py", [flags] * 2, tmp_path / "log")
    commands[0].wait_for("step 4/")
    for rank in told:
        os.kill(commands[rank].process.pid, signal.SIGTERM)
    assert [command.wait() for command in commands] == [143, 143]
    assert "step 4/8  validation" not in commands[0].output
    assert "interrupted: saved at step 4" in commands[0].output
    assert "step 4/8  validation" in run_as_torchrun("finetune.py", flags, tmp_path / "log", processes=2)
    assert_same_end(tmp_path / "told", tmp_path / "whole", 8)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_scores_of_a_validation_are_left_at_once(setup: TinySetup, tmp_path: Path, processes: int) -> None:
    """ROUGE of targets that take minutes. All of them belong to one process; the other one waits for it."""
    shutil.copytree(setup.data, tmp_path / "data", ignore=shutil.ignore_patterns(".prepared"))
    draw = random.Random(0)
    long = " ".join("".join(draw.choices("abcdefghijklmnop", k=8)) for _ in range(50_000))
    lines = (tmp_path / "data" / "val.target").read_text().splitlines()
    lines[:1] = [long] * 40
    sources = (tmp_path / "data" / "val.source").read_text().splitlines()
    write_lines(tmp_path / "data" / "val.target", lines)
    write_lines(tmp_path / "data" / "val.source", sources[:1] * 40 + sources[1:])
    results = tmp_path / "results"
    flags = [*setup.training_flags, "--gradient_accumulation_steps", str(2 // processes)]
    flags += ["--data_dir", str(tmp_path / "data"), "--eval_batch_size", "64"]
    flags += ["--save_checkpoint_steps", "1000", "--output_dir", str(results)]
    if processes == 1:
        commands = [Command("finetune.py", flags, tmp_path / "log")]
    else:
        commands = start_as_torchrun("finetune.py", [flags] * processes, tmp_path / "log")
    commands[0].wait_for("step 4/")
    time.sleep(2)  # for the few batches of the validation
    for command in commands:
        os.kill(command.process.pid, signal.SIGTERM)
    assert [command.wait() for command in commands] == [143] * processes, commands[0].output
    assert "step 4/20  validation" not in commands[0].output
    assert [line for line in commands[0].output.splitlines() if "nterrupted" in line] == last_lines(
        f"--output_dir {results}", 4, signal.SIGTERM
    )
    assert is_intact(checkpoints(results)[-1])


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def validation_flags(setup: TinySetup, folder: Path, how: str) -> list[str]:
    """Flags of a validation that takes about a second: of 130 batches, or 52 that are searched."""
    shutil.copytree(setup.data, folder / "data", ignore=shutil.ignore_patterns(".prepared"))
    for side in ("source", "target"):
        path = folder / "data" / f"val.{side}"
        path.write_bytes(path.read_bytes() * (10 if how == "teacher-forced" else 4))
    config = json.loads(setup.config.read_text()) | {"do_sample": how == "drawn"}
    (folder / "config.json").write_text(json.dumps(config))
    beams = "0" if how == "teacher-forced" else "2"
    flags = ["--data_dir", str(folder / "data"), "--config_path", str(folder / "config.json")]
    return [*flags, "--eval_batch_size", "1", "--eval_beams", beams, "--val_metric", "loss"]


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_all_processes_end_at_the_same_step(setup: TinySetup, tmp_path: Path, number: signal.Signals) -> None:
    flags = [*setup.training_flags, "--max_steps", "100000", "--save_checkpoint_steps", "100000"]
    flags += ["--output_dir", str(tmp_path / "results")]
    commands = start_as_torchrun("finetune.py", [flags] * 2, tmp_path / "log")
    commands[0].wait_for("step 3/")
    os.kill(commands[1].process.pid, number)
    assert [command.wait() for command in commands] == [CODES[number]] * 2
    assert is_intact(checkpoints(tmp_path / "results")[-1])


BEFORE_OR_AFTER = """
import sys, time
from dataclasses import dataclass
from utils.cli.run import run_command
@dataclass
class Arguments:
    def check(self): pass
def work(_):
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        time.sleep(0.3)
        print("tidied up", flush=True)
sys.exit(run_command(Arguments, "", work))
"""


@pytest.mark.parametrize("number", CODES)
def test_what_has_nothing_to_save_ends_at_once(number: signal.Signals) -> None:
    """Even if it is told twice."""
    command = [sys.executable, "-c", BEFORE_OR_AFTER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "working\n"
        process.send_signal(number)
        time.sleep(0.1)
        process.send_signal(number)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (CODES[number], "tidied up\n", f"{number.name}: interrupted\n")


SCRIPT_ARGUMENTS = "0 1e-3 4 2 fp32 100000 5 64 16 2 8 8 1000 50"


@pytest.mark.parametrize(
    ("number", "to_all", "processes"),
    [
        (signal.SIGINT, True, 1),
        (signal.SIGTERM, False, 1),
        pytest.param(signal.SIGINT, True, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, False, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, True, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, False, 2, marks=pytest.mark.slow),
    ],
)
def test_through_the_script(
    setup: TinySetup, tmp_path: Path, number: signal.Signals, to_all: bool, processes: int
) -> None:
    """Ctrl-C reaches the process group of a terminal; kill reaches the script alone. Nothing is evaluated after it."""
    results = tmp_path / "results"
    environment = {**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(results)}
    environment["PROCESSES_PER_NODE"] = str(processes)
    flags = ["--model_name_or_path", "scratch", "--tokenizer_name_or_path", str(setup.tokenizer), "--no-freeze_embeds"]
    flags += ["--log_every_n_steps", "1", "--save_checkpoint_steps", "100000", "--num_workers", "2"]
    script = ["bash", str(ROOT / "scripts" / "run_summarization.sh"), str(setup.data), str(setup.config)]
    with subprocess.Popen(
        [*script, *SCRIPT_ARGUMENTS.split(), *flags],
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_for([process], results, "step 3/")
        (os.killpg if to_all else os.kill)(process.pid, number)
        assert process.wait(60) == CODES[number]
    said = (results / "joblog.log").read_text()
    expected = last_lines(f"--output_dir (RESULTS_DIR) {results}", checkpoint_step(checkpoints(results)[-1]), number)
    assert [line for line in said.splitlines() if line in expected] == expected
    assert processes > 1 or "Traceback" not in said  # torchrun has its own words
    assert not (results / "best_tfmr").exists()
