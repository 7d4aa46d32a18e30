"""Files that run code when they are unpickled: refused in one line, as whatever they are given, and nothing is run."""

import argparse
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bart.checkpoints.weights import read_config
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.gadgets import GADGETS, torchs_own_name, write_pickle_as
from tests.tiny_setup import tiny_config
from utils.checkpoint.checkpoint_io import AtomicCheckpointIO, load_checkpoint, stored_arguments


def in_checkpoint(tmp_path: Path, gadget: Any) -> Path:
    path = tmp_path / "_epoch0_step1.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"model.weight": gadget}, "hyper_parameters": {}}, path)
    return path


def in_optimizer_state(tmp_path: Path, gadget: Any) -> Path:
    path = tmp_path / "_epoch0_step1.ckpt"
    model = BartForConditionalGeneration(tiny_config())
    weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    parameters = {"config": tiny_config().to_dict(), "arguments": {}}
    states = [{"state": {0: gadget}}]
    content = {"state_dict": weights, "hyper_parameters": parameters, "optimizer_states": states}
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


def in_folder(tmp_path: Path, gadget: Any) -> Path:
    folder = tmp_path / "model"
    BartForConditionalGeneration(tiny_config()).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.shared.weight": torch.ones(3), "final_logits_bias": gadget}, folder / "pytorch_model.bin")
    return folder


def in_shard(tmp_path: Path, gadget: Any) -> Path:
    folder = in_folder(tmp_path, gadget)
    (folder / "pytorch_model.bin").rename(folder / "part.bin")
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {"model.shared.weight": "part.bin"}}')
    return folder


def in_fairseq_file(tmp_path: Path, gadget: Any) -> Path:
    """As fairseq writes it: the weights under "model", its options as a Namespace, with the gadget beside them."""
    path = tmp_path / "model.pt"
    torch.save({"args": argparse.Namespace(arch="bart_large"), "model": {}, "extra_state": gadget}, path)
    return path


PLACES: dict[str, Callable[[Path, Any], Path]] = {
    ".ckpt": in_checkpoint,
    "optimizer state": in_optimizer_state,
    ".bin": in_folder,
    "shard": in_shard,
    "fairseq .pt": in_fairseq_file,
}


def assert_refused(read: Callable[[Path], Any], path: Path, proof: Path) -> None:
    with pytest.raises(InputError) as refusal:
        read(path)
    assert path.name in str(refusal.value) and "\n" not in str(refusal.value)
    assert not proof.exists()


@pytest.mark.parametrize("gadget", GADGETS)
@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_run(tmp_path: Path, place: str, gadget: str) -> None:
    proof = tmp_path / "proof"
    path = PLACES[place](tmp_path, GADGETS[gadget](proof))
    assert_refused(BartForConditionalGeneration.from_pretrained, path, proof)
    if path.is_file():
        for read in (read_config, load_checkpoint, stored_arguments, AtomicCheckpointIO().load_checkpoint):
            assert_refused(read, path, proof)
        with pytest.raises(InputError):
            AtomicCheckpointIO().load_checkpoint(path, weights_only=False)
    assert not proof.exists()
    torch.load(tmp_path / path if path.is_file() else next(path.glob("*.bin")), weights_only=False)
    assert proof.exists()  # it does run for who reads without care


@pytest.mark.parametrize("gadget", [*GADGETS, "a name of torch's own"])
@pytest.mark.parametrize("form", ["zip", "bare"])
@pytest.mark.parametrize("name", ["_epoch0_step1.ckpt", "model.pt"])
def test_nothing_is_run_whatever_the_format(tmp_path: Path, name: str, form: str, gadget: str) -> None:
    proof = tmp_path / "proof"
    pickled = pickle.dumps(GADGETS[gadget](proof), 2) if gadget in GADGETS else torchs_own_name(proof)
    write_pickle_as(tmp_path / name, form, pickled)
    for read in (BartForConditionalGeneration.from_pretrained, read_config, load_checkpoint, stored_arguments):
        assert_refused(read, tmp_path / name, proof)
    pickle.loads(pickled)
    assert proof.exists()


def test_a_program_of_torchscript_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "_epoch0_step1.ckpt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path)
    for read in (BartForConditionalGeneration.from_pretrained, load_checkpoint, stored_arguments):
        assert_refused(read, path, tmp_path / "proof")
