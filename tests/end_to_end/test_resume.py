"""A training that is killed and resumed ends bit for bit like one that is not."""

import random
from pathlib import Path

import pytest

from tests.commands import Command, refusal, run, run_as_torchrun, start_as_torchrun
from tests.gadgets import GADGETS
from tests.same_end import assert_same_end
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import AtomicCheckpointIO, checkpoints, load_checkpoint
from utils.io.json_files import read_json

STEPS = 20


def resumable_flags(setup: TinySetup, folder: Path) -> list[str]:
    return [*setup.training_flags, "--output_dir", str(folder), "--resume", "--save_checkpoint_steps", "3"]


def test_killed_three_times(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """Within the first epoch; after a validation; with a batch prepared ahead by workers."""
    flags = resumable_flags(setup, tmp_path)
    for number, (kill_at, workers) in enumerate([("step 5/", 0), ("step 12/20  validation", 2), ("step 17/", 0)]):
        command = Command("finetune.py", [*flags, "--num_workers", str(workers)], tmp_path / f"log{number}")
        command.kill_at(kill_at)
    output = run("finetune.py", [*flags, "--num_workers", "2"], tmp_path / "log")
    assert "resuming from" in output
    assert_same_end(tmp_path, whole_run, STEPS)


@pytest.mark.parametrize("shapes", ["exact", "few"])
def test_killed_with_a_token_budget(setup: TinySetup, tmp_path: Path, shapes: str) -> None:
    """In the second epoch, with batches prepared ahead."""
    budget = ["--max_tokens_per_batch", "300", "--batch_shapes", shapes]
    whole = tmp_path / "whole"
    run("finetune.py", [*setup.training_flags, *budget, "--output_dir", str(whole)], tmp_path / "log")
    assert 5 < read_json(whole / "run.json")["steps_per_epoch"] < 14
    flags = [*resumable_flags(setup, tmp_path / "killed"), *budget, "--num_workers", "2"]
    Command("finetune.py", flags, tmp_path / "log0").kill_at("step 15/")
    assert "resuming from" in run("finetune.py", flags, tmp_path / "log")
    assert_same_end(tmp_path / "killed", whole, STEPS)
    line = refusal("finetune.py", [*flags, "--max_tokens_per_batch", "299"], tmp_path / "log")
    assert line.startswith("error: --resume: --max_tokens_per_batch was 300 and is now 299")
    auto = [flag if flag != shapes else "auto" for flag in flags]
    assert f'"batch_shapes": "{shapes}"' in (tmp_path / "killed" / "run.json").read_text()
    assert "resuming from" in run("finetune.py", auto, tmp_path / "log")


def test_two_processes_killed(setup: TinySetup, tmp_path: Path) -> None:
    """With dropout, which differs between them, and between two records of the loss, of which each has a part."""
    every = ["--log_every_n_steps", "4"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    flags = [*setup.training_flags, *every, "--output_dir", str(whole), "--save_checkpoint_steps", "3"]
    run_as_torchrun("finetune.py", flags, tmp_path / "log", processes=2)
    flags = [*resumable_flags(setup, killed), *every]
    commands = start_as_torchrun("finetune.py", [flags] * 2, tmp_path / "log")
    commands[0].wait_for("step 16/")
    for command in commands:
        command.process.kill()
        command.process.join()
    assert "resuming from" in run_as_torchrun("finetune.py", flags, tmp_path / "log", processes=2)
    assert_same_end(killed, whole, STEPS, records=STEPS // 4)
    alone = Command("finetune.py", flags, tmp_path / "log")
    assert alone.wait() == 2
    refusal = "error: --resume: the interrupted run had 2 processes, this one has 1; start 2 (see --gpus)\n"
    assert alone.output.endswith(refusal)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random(setup: TinySetup, whole_run: Path, tmp_path: Path, seed: int) -> None:
    """Anywhere, again and again, with and without workers."""
    rng = random.Random(seed)
    flags = resumable_flags(setup, tmp_path)
    for number, step in enumerate(sorted(rng.sample(range(1, STEPS), 5))):
        workers = str(rng.choice([0, 2]))
        command = Command("finetune.py", [*flags, "--num_workers", workers], tmp_path / f"log{number}")
        command.kill_at(f"step {step}/")
    run("finetune.py", flags, tmp_path / "log")
    assert_same_end(tmp_path, whole_run, STEPS)


def test_resumed_twice_after_the_end(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """Nothing is trained any more; more steps, though, can be asked for."""
    flags = resumable_flags(setup, tmp_path)
    run("finetune.py", flags, tmp_path / "log")
    run("finetune.py", flags, tmp_path / "log")
    assert_same_end(tmp_path, whole_run, STEPS)
    output = run("finetune.py", [*flags, "--max_steps", "24"], tmp_path / "log")
    assert "step 21/24" in output and "step 24/24  validation" in output
    assert checkpoints(tmp_path)[-1].name == "_epoch2_step24.ckpt"


def test_early_stopping_survives(setup: TinySetup, tmp_path: Path) -> None:
    """A learning rate of nearly nothing never improves: the run stops after two validations more, resumed or not."""
    flags = [*setup.training_flags, "--learning_rate", "2e-7", "--val_metric", "rouge1"]
    flags += ["--early_stopping_patience", "2", "--output_dir", str(tmp_path), "--resume"]
    output = run("finetune.py", flags, tmp_path / "log")
    assert "step 12/20  validation" in output and "step 13/" not in output
    output = run("finetune.py", flags, tmp_path / "log")
    assert "validation (" not in output
    checkpoints(tmp_path)[-1].unlink()  # as if killed before the last validation's save
    output = run("finetune.py", flags, tmp_path / "log")
    assert "step 12/20  validation" in output and "step 13/" not in output


def test_damaged_checkpoint_is_passed_over(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    flags = resumable_flags(setup, tmp_path)
    command = Command("finetune.py", flags, tmp_path / "log")
    command.kill_at("step 11/")
    newest = checkpoints(tmp_path)[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    output = run("finetune.py", flags, tmp_path / "log")
    assert f"{newest} is damaged" in output
    assert_same_end(tmp_path, whole_run, STEPS)


def test_what_cannot_change(setup: TinySetup, tmp_path: Path) -> None:
    """One line for a flag that the steps already done depend on, and for other data."""
    flags = resumable_flags(setup, tmp_path)
    Command("finetune.py", flags, tmp_path / "log").kill_at("step 4/")
    line = refusal("finetune.py", [*flags, "--train_batch_size", "8"], tmp_path / "log")
    assert line.startswith("error: --resume: --train_batch_size was 4 and is now 8")
    line = refusal("finetune.py", [*flags, "--n_train", "60"], tmp_path / "log")
    assert line.startswith("error: --resume: --n_train was -1 and is now 60")


def test_what_may_change_is_said(setup: TinySetup, tmp_path: Path) -> None:
    """In one line; and a run cannot end before what is done."""
    flags = resumable_flags(setup, tmp_path)
    Command("finetune.py", flags, tmp_path / "log").kill_at("step 13/")
    line = refusal("finetune.py", [*flags, "--max_steps", "8"], tmp_path / "log")
    assert "_step12.ckpt is after step 12, and the run is now to end after 8; give --max_steps 12 or more" in line
    output = run("finetune.py", [*flags, "--max_steps", "14", "--eval_batch_size", "4"], tmp_path / "log")
    assert "\n--resume: --max_steps was 20 and is now 14; --eval_batch_size was 8 and is now 4\n" in output
    output = run("finetune.py", [*flags, "--max_steps", "14", "--eval_batch_size", "4"], tmp_path / "log")
    assert "--resume: " not in output


@pytest.mark.parametrize("gadget", ["os.system", "a setter of state"])
def test_a_hostile_checkpoint_is_refused(setup: TinySetup, whole_run: Path, tmp_path: Path, gadget: str) -> None:
    """Its checksum fits, and all of it is a checkpoint but for one thing in the optimizer's state."""
    stored = load_checkpoint(checkpoints(whole_run)[-1])
    stored["optimizer_states"][0]["state"][0]["step"] = GADGETS[gadget](tmp_path / "proof")
    results = tmp_path / "results"
    results.mkdir()
    AtomicCheckpointIO().save_checkpoint(stored, results / "_epoch2_step20.ckpt")
    before = (results / "_epoch2_step20.ckpt").read_bytes()
    line = refusal("finetune.py", resumable_flags(setup, results), tmp_path / "log")
    assert "_epoch2_step20.ckpt: holds more than tensors" in line and "nothing of it was run" in line
    assert not (tmp_path / "proof").exists()
    assert [path.read_bytes() for path in results.iterdir()] == [before]


def test_nothing_to_resume(setup: TinySetup, tmp_path: Path) -> None:
    output = run("finetune.py", [*resumable_flags(setup, tmp_path), "--max_steps", "6"], tmp_path / "log")
    assert "holds no checkpoint: starting anew" in output
