"""Two processes on the CPU do what one does."""

import shutil
from pathlib import Path

import pytest

from tests.commands import run, run_as_torchrun, start_as_torchrun
from tests.tiny_setup import TinySetup
from utils.checkpoint.checkpoint_io import checkpoints, load_checkpoint
from utils.evaluation.rouge import ROUGE_TYPES
from utils.io.json_files import read_json


def test_evaluation_writes_the_same_file(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """Of 7 examples in batches of 2; the same scores, too."""
    common = [str(talkative_model), str(setup.config), str(setup.data)]
    flags = ["--bs", "2", "--rouge_sentence_splitter", "nupunkt"]
    run("run_eval.py", [*common, str(tmp_path / "one"), *flags], tmp_path / "log")
    run_as_torchrun("run_eval.py", [*common, str(tmp_path / "two"), *flags], tmp_path / "log", processes=2)
    one, two = (tmp_path / name / "test_generations.txt" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes() and len(set(one.read_bytes().split(b"\n"))) > 5
    reports = [read_json(tmp_path / name / "test_rouge.json") for name in ("one", "two")]
    for key in (*ROUGE_TYPES, "intervals_95", "scorer", "traits"):
        assert reports[0][key] == reports[1][key], key
    assert reports[1]["processes"] == 2


def test_training_ends_with_the_test_of_all_examples(setup: TinySetup, tmp_path: Path) -> None:
    flags = [*setup.training_flags, "--max_steps", "4", "--warmup_steps", "1", "--n_test", "-1"]
    run_as_torchrun("finetune.py", [*flags, "--output_dir", str(tmp_path / "two")], tmp_path / "log", processes=2)
    assert read_json(tmp_path / "two" / "test_rouge.json")["n_obs"] == 7


def test_processes_with_different_data_are_refused(setup: TinySetup, tmp_path: Path) -> None:
    """As where a file changes between their starts."""
    shutil.copytree(setup.data, tmp_path / "data")
    path = tmp_path / "data" / "train.source"
    path.write_text("changed " + path.read_text(encoding="utf-8"), encoding="utf-8")
    flags = [*setup.training_flags, "--output_dir", str(tmp_path / "results")]
    own = [flags, [*flags, "--data_dir", str(tmp_path / "data")]]
    commands = start_as_torchrun("finetune.py", own, tmp_path / "log")
    assert [command.wait() for command in commands] == [2, 2]
    assert "error: --data_dir: the processes of this run have read different training data" in commands[0].output


def assert_same_training(ours: Path, theirs: Path) -> None:
    """Weights and losses, but for rounding."""
    weights = [load_checkpoint(checkpoints(folder)[-1])["state_dict"] for folder in (ours, theirs)]
    assert weights[0].keys() == weights[1].keys()
    for name, weight in weights[1].items():
        if "k_proj.bias" not in name:  # its true gradient is zero: Adam amplifies rounding
            assert (weights[0][name] - weight).norm() <= 1e-4 * weight.norm(), name
    histories = [read_json(folder / "metrics.json") for folder in (ours, theirs)]
    for our_record, their_record in zip(histories[0]["train"], histories[1]["train"], strict=True):
        assert abs(our_record["loss"] - their_record["loss"]) < 1e-4
        assert abs(our_record["gradient_norm"] - their_record["gradient_norm"]) < 1e-4
    for our_record, their_record in zip(histories[0]["validation"], histories[1]["validation"], strict=True):
        assert abs(our_record["loss"] - their_record["loss"]) < 1e-4


@pytest.mark.parametrize("limit", [["--train_batch_size", "1"], ["--max_tokens_per_batch", "300"]])
def test_training_reaches_the_same_weights(setup: TinySetup, tmp_path: Path, limit: list[str]) -> None:
    """One with accumulation 4, two with 2; single examples are too few for some steps, and a rank is without any."""
    flags = [*setup.training_flags, *limit, "--dropout", "0", "--max_steps", "12", "--n_train", "33"]
    one = [*flags, "--gradient_accumulation_steps", "4", "--output_dir", str(tmp_path / "one")]
    run("finetune.py", one, tmp_path / "log")
    two = [*flags, "--gradient_accumulation_steps", "2", "--output_dir", str(tmp_path / "two")]
    run_as_torchrun("finetune.py", two, tmp_path / "log", processes=2)
    assert_same_training(tmp_path / "two", tmp_path / "one")


def test_sharded_training_reaches_the_same_weights(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """Killed, resumed (both from whole checkpoints), evaluated; the embeddings, which the layers share, are frozen."""
    flags = [*setup.training_flags, "--dropout", "0", "--model_name_or_path", str(whole_run / "best_tfmr")]
    flags += ["--freeze_embeds", "--max_steps", "8", "--n_test", "7"]
    run("finetune.py", [*flags, "--output_dir", str(tmp_path / "one")], tmp_path / "log")
    two = [*flags, "--strategy", "fsdp", "--gradient_accumulation_steps", "1", "--output_dir", str(tmp_path / "two")]
    two += ["--save_checkpoint_steps", "3", "--resume"]
    commands = start_as_torchrun("finetune.py", [two] * 2, tmp_path / "log")
    commands[0].wait_for("step 7/")
    for command in commands:
        command.process.kill()
        command.process.join()
    assert "resuming from" in run_as_torchrun("finetune.py", two, tmp_path / "log", processes=2)
    assert_same_training(tmp_path / "two", tmp_path / "one")
    one, two = (tmp_path / name / "test_generations.txt" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_the_processes_of_an_evaluation_must_read_the_same(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    shutil.copytree(setup.data, tmp_path / "data")
    path = tmp_path / "data" / "test.source"
    path.write_text("changed " + path.read_text(encoding="utf-8"), encoding="utf-8")
    own = [
        [str(whole_run / "best_tfmr"), str(setup.config), str(data), str(tmp_path / "results")]
        for data in (setup.data, tmp_path / "data")
    ]
    commands = start_as_torchrun("run_eval.py", own, tmp_path / "log")
    assert [command.wait() for command in commands] == [2, 2]
    assert "the processes have read different texts" in commands[0].output


def test_more_processes_than_batches(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """One batch for two; of an evaluation before, which wrote several texts, nothing is left."""
    results = tmp_path / "results"
    common = [str(whole_run / "best_tfmr"), str(setup.config), str(setup.data), str(results), "--bs", "8"]
    results.mkdir()
    (results / "test_generations.jsonl").write_text("old")
    run_as_torchrun("run_eval.py", common, tmp_path / "log", processes=2)
    assert len((results / "test_generations.txt").read_text().splitlines()) == 7
    assert not (results / "test_generations.jsonl").exists()
    report = read_json(results / "test_rouge.json")
    assert report["processes"] == 2 and report["sequences_per_second"] > 0
