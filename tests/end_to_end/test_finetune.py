"""What a training leaves behind, through the real command."""

import csv
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch
import transformers

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import ROOT, Command, run
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints, load_checkpoint
from utils.data.line_files import read_lines
from utils.io.json_files import read_json


def test_losses_fall_and_are_recorded(whole_run: Path) -> None:
    metrics = read_json(whole_run / "metrics.json")
    assert [record["step"] for record in metrics["train"]] == list(range(1, 21))
    assert [record["step"] for record in metrics["validation"]] == [4, 8, 12, 16, 20]
    assert metrics["train"][7]["epoch"] == 1.0
    assert metrics["train"][-1]["loss"] < metrics["train"][0]["loss"] - 0.1
    assert metrics["validation"][-1]["loss"] < metrics["validation"][0]["loss"]
    assert {"rouge1", "rouge2", "rougeL", "rougeLsum"} < metrics["validation"][0].keys()
    assert [record["learning_rate"] for record in metrics["train"][:6]] == pytest.approx(
        [0, 2e-4, 4e-4, 6e-4, 8e-4, 1e-3]
    )
    assert all(record["tokens_per_second"] > 0 for record in metrics["speed"])
    whole = metrics["throughput"]
    assert 20 * 8 - 24 < whole["sequences"] <= 20 * 8  # an epoch's 61 examples are 8 steps
    assert 0 < whole["share_of_peak"] < 1 and 0 <= whole["share_waiting_for_data"] < 1
    assert whole["tokens_per_second"] > whole["sequences_per_second"] > 0 and whole["peak_memory_gb"] > 0.1


def test_checkpoints_that_are_kept(whole_run: Path) -> None:
    """The newest two; the last is the best as well."""
    assert [path.name for path in checkpoints(whole_run)] == ["_epoch2_step19.ckpt", "_epoch2_step20.ckpt"]
    stored = load_checkpoint(whole_run / "_epoch2_step20.ckpt")
    assert stored["hyper_parameters"]["arguments"]["max_steps"] == 20
    assert stored["hyper_parameters"]["config"]["d_model"] == 32
    assert all(name.startswith("model.") for name in stored["state_dict"])


def test_best_model_is_the_best_checkpoint(whole_run: Path) -> None:
    """transformers loads it, with its tokenizer, and both see the same."""
    theirs = transformers.BartForConditionalGeneration.from_pretrained(whole_run / "best_tfmr")
    ours = BartForConditionalGeneration.from_pretrained(whole_run / "_epoch2_step20.ckpt")
    tokenizer = transformers.AutoTokenizer.from_pretrained(whole_run / "best_tfmr")
    batch = tokenizer([" print the help", " an argument"], padding=True, return_tensors="pt")
    expected = theirs.generate(**batch, num_beams=2, max_length=12)
    assert torch.equal(ours.generate(**batch, num_beams=2, max_length=12), expected)
    assert len(BartTokenizer.from_pretrained(whole_run / "tokenizer")) == len(tokenizer)


def test_logs_and_description(whole_run: Path) -> None:
    description = read_json(whole_run / "run.json")
    assert description["arguments"]["train_batch_size"] == 4 and description["steps_per_epoch"] == 8
    assert description["versions"]["torch"] == metadata.version("torch")  # torch names its build, too
    rows = list(csv.DictReader((whole_run / "logs" / "version_0" / "metrics.csv").open()))
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses == [record["loss"] for record in read_json(whole_run / "metrics.json")["train"]]
    assert list((whole_run / "logs" / "version_0").glob("events.out.tfevents.*"))


def test_a_log_file_gets_plain_lines(whole_run: Path) -> None:
    lines = read_lines(whole_run / "log")
    assert lines[0].startswith("61 training and 13 validation examples")
    assert sum(line.startswith("step 12/20  loss ") and "tokens/s" in line for line in lines) == 1
    assert sum(line.startswith("step 12/20  validation (teacher-forced") for line in lines) == 1
    report = [line for line in lines if line.startswith(("train data: ", "val data: ", "test data: ", "warning: "))]
    assert len(lines) == 1 + len(report) + 2 + 20 + 5 and not any("\r" in line for line in lines)


def test_validation_that_generates_then_the_test(setup: TinySetup, tmp_path: Path) -> None:
    """In bfloat16, with other settings throughout; the last validation is at the end though no interval ends there."""
    flags = [*setup.training_flags, "--output_dir", str(tmp_path), "--bf16", "--eval_beams", "2", "--n_val", "5"]
    flags += ["--n_test", "-1", "--max_steps", "7", "--warmup_steps", "1", "--no-sortish_sampler", "--seed", "3"]
    flags += ["--optimizer", "adafactor", "--lr_scheduler", "cosine", "--freeze_encoder", "--save_top_k", "2"]
    flags += ["--val_check_interval", "18", "--num_sanity_val_steps", "1"]  # 18 examples are 2.4 steps
    run("finetune.py", flags, tmp_path / "log")
    metrics = read_json(tmp_path / "metrics.json")
    assert [record["step"] for record in metrics["validation"]] == [2, 4, 6, 7]
    stored = load_checkpoint(checkpoints(tmp_path)[-1])
    assert stored["hyper_parameters"]["arguments"]["val_metric"] == "rouge2"
    assert all(tensor.dtype == torch.float32 for tensor in stored["state_dict"].values())
    report = read_json(tmp_path / "test_rouge.json")
    assert report["n_obs"] == 7 and report["beams"] == 2 and report["precision"] == "bf16"
    assert len(read_lines(tmp_path / "test_generations.txt")) == 7


def test_a_trained_model_is_trained_on(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """From its folder and from its checkpoint: configuration and tokenizer come with it, for one epoch at most."""
    common = ["--data_dir", str(setup.data), "--gpus", "0", "--warmup_steps", "1", "--n_test", "0", "--dropout", "0.2"]
    common += ["--max_epochs", "1", "--train_batch_size", "16", "--max_target_length", "16"]
    for start in ("best_tfmr", "_epoch2_step20.ckpt"):
        flags = [*common, "--model_name_or_path", str(whole_run / start), "--output_dir", str(tmp_path / start)]
        run("finetune.py", flags, tmp_path / "log")
        stored = load_checkpoint(tmp_path / start / "_epoch0_step4.ckpt")
        before = load_checkpoint(whole_run / "_epoch2_step20.ckpt")["state_dict"]
        assert stored["hyper_parameters"]["config"]["dropout"] == 0.2
        weights = stored["state_dict"]
        assert torch.equal(weights["model.model.shared.weight"], before["model.model.shared.weight"])  # frozen
        assert not torch.equal(
            weights["model.model.encoder.layers.0.fc1.weight"], before["model.model.encoder.layers.0.fc1.weight"]
        )


def test_overwriting_deletes_the_run_and_nothing_else(setup: TinySetup, tmp_path: Path) -> None:
    flags = [*setup.training_flags, "--output_dir", str(tmp_path), "--warmup_steps", "1"]
    run("finetune.py", [*flags, "--max_steps", "6"], tmp_path / "log")
    (tmp_path / "joblog.log").write_text("kept")
    run("finetune.py", [*flags, "--max_steps", "3", "--overwrite_output_dir"], tmp_path / "log")
    assert [path.name for path in checkpoints(tmp_path)] == ["_epoch0_step2.ckpt", "_epoch0_step3.ckpt"]
    assert read_json(tmp_path / "metrics.json")["train"][-1]["step"] == 3
    assert (tmp_path / "joblog.log").read_text() == "kept"


@pytest.mark.slow
def test_from_a_shell(setup: TinySetup, tmp_path: Path) -> None:
    """Both programs as a person starts them; test_scripts.py does it by the scripts."""
    flags = [*setup.training_flags, "--max_steps", "3", "--warmup_steps", "1", "--output_dir", str(tmp_path)]
    training = subprocess.run([sys.executable, ROOT / "finetune.py", *flags], capture_output=True, text=True)
    assert training.returncode == 0 and "step 3/3  validation" in training.stdout, training.stderr
    arguments = [tmp_path / "best_tfmr", setup.config, setup.data, tmp_path / "evaluation"]
    evaluation = subprocess.run([sys.executable, ROOT / "run_eval.py", *arguments], capture_output=True, text=True)
    assert evaluation.returncode == 0 and evaluation.stdout.startswith("test (7 examples, 2 beams): rouge1")


def test_a_terminated_run_does_not_look_done(setup: TinySetup, tmp_path: Path) -> None:
    command = Command("finetune.py", [*setup.training_flags, "--output_dir", str(tmp_path)], tmp_path / "log")
    command.wait_for("step 5/")
    os.kill(command.process.pid, signal.SIGTERM)
    assert command.wait() == 143
    step = checkpoint_step(checkpoints(tmp_path)[-1])
    said = f"saved at step {step}; the same command with --output_dir {tmp_path} and --resume continues it"
    assert step >= 5 and said in command.output
    assert not (tmp_path / "best_tfmr").exists()


def test_stops_without_improvement(setup: TinySetup, tmp_path: Path) -> None:
    """Not before --min_epochs: 2 epochs are 16 steps."""
    flags = [*setup.training_flags, "--learning_rate", "2e-7", "--val_metric", "rouge1", "--output_dir", str(tmp_path)]
    flags += ["--early_stopping_patience", "1", "--overwrite_output_dir"]
    for min_epochs, last_step in (("0", 8), ("2", 16)):
        command = Command("finetune.py", [*flags, "--min_epochs", min_epochs], tmp_path / "log")
        assert command.wait() == 0, command.output
        assert read_json(tmp_path / "metrics.json")["validation"][-1]["step"] == last_step
