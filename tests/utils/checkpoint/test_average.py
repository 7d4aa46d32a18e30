"""The mean of several checkpoints."""

from pathlib import Path

import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from utils.checkpoint.average import averaged_model
from utils.checkpoint.checkpoint_io import AtomicCheckpointIO, checkpoint_name
from utils.training.callbacks.checkpoint_saver import CheckpointSaver


def save(folder: Path, step: int) -> Path:
    """Random weights, and a bias that is drawn too."""
    torch.manual_seed(step)
    model = BartForConditionalGeneration(tiny_config())
    model.final_logits_bias.normal_()
    weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    path = folder / checkpoint_name(0, step)
    content = {"state_dict": weights, "hyper_parameters": {"config": tiny_config().to_dict()}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return BartForConditionalGeneration.from_pretrained(path).state_dict()


def test_every_tensor_is_the_mean(tmp_path: Path) -> None:
    paths = [save(tmp_path, step) for step in (1, 2, 3)]
    model = averaged_model(paths)
    each = [weights_of(path) for path in paths]
    for name, weight in model.state_dict().items():
        mean = torch.stack([weights[name].double() for weights in each]).mean(0)
        assert weight.dtype == torch.float32 and (weight - mean).abs().max() <= 2**-24 * mean.abs().max(), name
    assert not model.training and model.model.encoder.embed_tokens.weight is model.model.shared.weight


def test_of_equal_ones_it_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    path = save(tmp_path, 1)
    for count in (1, 7):
        weights = averaged_model([path] * count).state_dict()
        assert all(torch.equal(weight, weights[name]) for name, weight in weights_of(path).items())


def test_a_damaged_one_is_left_out(tmp_path: Path) -> None:
    saver = CheckpointSaver(tmp_path, every_n_steps=1, top_k=1, metric="loss", steps_per_epoch=1, average=3)
    paths = [save(tmp_path, step) for step in (1, 2, 3, 4)]
    names = [path.name for path in paths]
    saver.load_state_dict({"best": [(0.5, names[1])], "validated": names})
    assert saver.last_validated() == paths[1:]
    assert saver.value_of(paths[1]) == 0.5 and saver.value_of(paths[0]) is None
    content = bytearray(paths[2].read_bytes())
    content[len(content) // 2] ^= 1
    paths[2].write_bytes(content)
    with pytest.warns(UserWarning, match=f"{paths[2]}, to be averaged, is damaged or gone; it is left out"):
        assert saver.last_validated() == [paths[1], paths[3]]
    with pytest.raises(InputError, match="is damaged"):
        averaged_model(paths)


def test_those_to_average_are_kept(tmp_path: Path) -> None:
    """Besides the newest two and the best; a run that is resumed without the flag lets them go."""
    for step in range(1, 9):
        save(tmp_path, step)
    state = {"best": [(0.5, checkpoint_name(0, 2))], "validated": [checkpoint_name(0, step) for step in (2, 4, 6)]}
    for average, kept in ((2, [2, 4, 6, 7, 8]), (0, [2, 7, 8])):
        saver = CheckpointSaver(tmp_path, 1, 1, "loss", 1, average)
        saver.load_state_dict(state)
        saver._prune(8)
        assert sorted(path.name for path in tmp_path.iterdir()) == [checkpoint_name(0, step) for step in kept]
    assert saver.state_dict() == {"best": state["best"]}
