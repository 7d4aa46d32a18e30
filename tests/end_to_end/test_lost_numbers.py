"""A loss or a gradient that is no number any more ends the training, on the lines that made it so."""

from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import Command, start_as_torchrun
from tests.tiny_setup import TinySetup, tiny_config
from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints, load_checkpoint

POISONED = 38  # the line, from 1, that is longer than all others


def flags_of(setup: TinySetup, folder: Path, model: BartForConditionalGeneration) -> list[str]:
    """A training of short texts but for one, that begins with a model."""
    data = folder / "data"
    data.mkdir()
    for split, count in (("train", 61), ("val", 5)):
        lines = [f"text {number} of {split}" for number in range(1, count + 1)]
        (data / f"{split}.target").write_text("".join(f"{line}\n" for line in lines))
        if split == "train":
            lines[POISONED - 1] = "an argument that is long " * 20
        (data / f"{split}.source").write_text("".join(f"{line}\n" for line in lines))
    model.save_pretrained(folder / "model")
    BartTokenizer.from_pretrained(setup.tokenizer).save_pretrained(folder / "model")
    changed = ["--data_dir", str(data), "--model_name_or_path", str(folder / "model"), "--save_checkpoint_steps", "1"]
    changed += ["--allow_non_finite"]
    return [*setup.training_flags, *changed, "--output_dir", str(folder / "results")]


def poisoned_model() -> BartForConditionalGeneration:
    """One that makes NaN of texts that reach its last positions: the real thing would be in the data."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config())
    with torch.no_grad():
        model.model.encoder.embed_positions.weight[-8:] = torch.nan
    return model


def assert_stopped_at_the_line(line: str, results: Path, folder: Path, most_lines: int) -> None:
    start, _, rest = line.partition(f"{folder / 'data' / 'train.source'}, lines ")
    assert start.startswith("error: the loss is nan in step ") and start.endswith(", on ")
    lines = [int(number) for number in rest.partition(";")[0].split(", ")]
    assert POISONED in lines and len(lines) <= most_lines
    step = int(start.removeprefix("error: the loss is nan in step ").removesuffix(", on "))
    assert 1 < step <= 8
    newest = checkpoints(results)[-1]
    assert checkpoint_step(newest) == step - 1
    clean = load_checkpoint(newest)["state_dict"]
    assert all(weight.isfinite().all() for name, weight in clean.items() if "embed_positions" not in name)
    assert not (results / "best_tfmr").exists()


@pytest.mark.parametrize("record_every", ["1", "10"])
def test_a_poisoned_batch(setup: TinySetup, tmp_path: Path, record_every: str) -> None:
    """Also where the loss is recorded later: it is looked at before a save. Resumed, it ends there again."""
    flags = [*flags_of(setup, tmp_path, poisoned_model()), "--log_every_n_steps", record_every]
    for more in ([], ["--resume"]):
        command = Command("finetune.py", [*flags, *more], tmp_path / "log")
        assert command.wait() == 2
        assert "Traceback" not in command.output
        assert_stopped_at_the_line(command.output.splitlines()[-1], tmp_path / "results", tmp_path, most_lines=4)


def test_all_processes_stop(setup: TinySetup, tmp_path: Path) -> None:
    """One of two has the batch."""
    flags = [*flags_of(setup, tmp_path, poisoned_model()), "--train_batch_size", "2"]
    commands = start_as_torchrun("finetune.py", [flags] * 2, tmp_path / "log")
    assert [command.wait() for command in commands] == [2, 2]
    assert_stopped_at_the_line(commands[0].output.splitlines()[-1], tmp_path / "results", tmp_path, most_lines=2)


def test_a_gradient_beyond_all_numbers(setup: TinySetup, tmp_path: Path) -> None:
    """Of a loss that is finite."""
    model = BartForConditionalGeneration(tiny_config())
    with torch.no_grad():
        model.model.decoder.layers[-1].final_layer_norm.weight *= 1e21
    command = Command("finetune.py", flags_of(setup, tmp_path, model), tmp_path / "log")
    assert command.wait() == 2
    line = command.output.splitlines()[-1]
    assert line.startswith("error: the gradient's norm is inf in step 1, on ") and "train.source, lines " in line
    assert checkpoints(tmp_path / "results") == []
