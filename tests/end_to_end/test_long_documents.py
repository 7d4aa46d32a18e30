"""A model with more positions than it was trained with, from the training to the evaluation, by the real commands."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from bart.checkpoints.weights import read_config
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.commands import Command, refusal, run
from tests.same_end import assert_same_end
from tests.tiny_setup import MAX_POSITIONS, TinySetup
from utils.checkpoint.checkpoint_io import checkpoints, stored_arguments
from utils.cli.training_args import DataSettings, ModelSettings
from utils.data.training_data import read_inputs
from utils.io.json_files import read_json

POSITIONS = 100
ENCODER = "model.encoder.embed_positions.weight"


def flags(setup: TinySetup, whole_run: Path, folder: Path) -> list[str]:
    """Of a training at all positions. The configuration has as many as the model had."""
    model = ["--model_name_or_path", str(whole_run / "best_tfmr"), "--freeze_embeds", "--output_dir", str(folder)]
    steps = ["--max_steps", "6", "--save_checkpoint_steps", "3"]
    return [*setup.training_flags, *model, *steps, "--gradient_checkpointing"]


def weights_of(folder: Path) -> dict[str, Tensor]:
    return BartForConditionalGeneration.from_pretrained(folder).state_dict()


@pytest.fixture(scope="module")
def long_run(setup: TinySetup, whole_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a training with more positions. Read only."""
    folder = tmp_path_factory.mktemp("long")
    run("finetune.py", [*flags(setup, whole_run, folder), "--max_positions", str(POSITIONS)], folder / "log")
    return folder


def test_it_reads_longer_sources(whole_run: Path, long_run: Path) -> None:
    assert f"positions are repeated to make {POSITIONS}" in (long_run / "log").read_text()
    source = read_json(long_run / "data_report.json")["splits"]["train"]["source"]
    assert source["limit"] == {"max_source_length": POSITIONS}
    assert source["tokens"]["longest"] > MAX_POSITIONS
    assert stored_arguments(checkpoints(long_run)[-1])["max_positions"] == POSITIONS


def test_what_is_written_has_the_new_table(whole_run: Path, long_run: Path) -> None:
    """The positions are trained although the tokens are frozen; the two rows before them still are not used."""
    before, after = weights_of(whole_run / "best_tfmr"), weights_of(long_run / "best_tfmr")
    assert read_config(long_run / "best_tfmr").max_position_embeddings == POSITIONS
    assert torch.equal(before["model.shared.weight"], after["model.shared.weight"])
    repeated = before[ENCODER][[0, 1, *(2 + place % MAX_POSITIONS for place in range(POSITIONS))]]
    torch.testing.assert_close(after[ENCODER], repeated, rtol=0, atol=0.01)
    first, again = after[ENCODER][2 : 2 + POSITIONS - MAX_POSITIONS], after[ENCODER][2 + MAX_POSITIONS :]
    assert (first - again).abs().max() > 1e-3


def test_its_tokenizer_truncates_at_its_length(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """In transformers, too: BART's limit of 1,024 tokens is not that of the new model."""
    model = ModelSettings(model_name_or_path=str(whole_run / "best_tfmr"), max_positions=2000)
    read_inputs(DataSettings(data_dir=str(setup.data)), model, None).tokenizer.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer("x " * 3000, truncation=True)["input_ids"]) == 2000


def test_resumed_it_goes_on_with_the_same_table(
    setup: TinySetup, whole_run: Path, long_run: Path, tmp_path: Path
) -> None:
    """And no other table: neither longer, nor as in the model that the run began with."""
    resumed = [*flags(setup, whole_run, tmp_path / "run"), "--resume"]
    Command("finetune.py", [*resumed, "--max_positions", str(POSITIONS)], tmp_path / "log").kill_at("step 4/")
    for other, now in (([], "None"), (["--max_positions", "128", "--max_source_length", "128"], "128")):
        line = refusal("finetune.py", [*resumed, *other], tmp_path / "log")
        changed = f"--max_positions was {POSITIONS} and is now {now}"
        assert line == f"error: --resume: {changed}; it cannot change within a run"
    output = run("finetune.py", [*resumed, "--max_positions", str(POSITIONS)], tmp_path / "log")
    assert "resuming from" in output and "repeated" not in output
    assert_same_end(tmp_path / "run", long_run, steps=6)


def test_it_is_evaluated_and_trained_further_at_its_length(
    setup: TinySetup, whole_run: Path, long_run: Path, tmp_path: Path
) -> None:
    """With a configuration of the model that it was made from."""
    model = str(long_run / "best_tfmr")
    evaluation = [str(setup.config), str(setup.data), str(tmp_path / "out"), "--max_source_length", str(POSITIONS)]
    run("run_eval.py", [model, *evaluation], tmp_path / "log")
    assert read_json(tmp_path / "out" / "test_rouge.json")["max_source_length"] == POSITIONS
    line = refusal("run_eval.py", [str(whole_run / "best_tfmr"), *evaluation], tmp_path / "log")
    assert line.endswith(
        f"--max_source_length {POSITIONS}: the model has {MAX_POSITIONS} positions; give {MAX_POSITIONS} or less, or"
        f" train it with finetune.py --max_positions {POSITIONS}"
    )
    output = run("finetune.py", [*setup.training_flags, "--model_name_or_path", model, "--dry_run"], tmp_path / "log")
    assert f"the model has max_position_embeddings {POSITIONS} (given: {MAX_POSITIONS}): the model's own" in output
    assert "repeated" not in output


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--max_source_length", "65"], "--max_source_length 65: the model has 64 positions; give 64 or less, or"),
        (["--max_positions", "63"], "max_positions=63: the model has 64 positions, and none are taken away"),
        (["--max_positions", "16385"], "--max_positions 16385: give a number from 2 to 16384"),
        (
            ["--max_positions", "128", "--model_name_or_path", "scratch"],
            "--max_positions: repeats the positions of a trained model; for a new one set max_position_embeddings",
        ),
    ],
)
def test_refused(setup: TinySetup, whole_run: Path, tmp_path: Path, given: list[str], said: str) -> None:
    command = [*flags(setup, whole_run, tmp_path / "run"), "--no-freeze_embeds", *given]
    assert said in refusal("finetune.py", command, tmp_path / "log")
    assert not (tmp_path / "run").exists()
