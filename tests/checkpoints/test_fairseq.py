"""A model.pt as fairseq writes it, from the weights of a model of ours, gives that model."""

import argparse
import enum
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.fairseq_format import fairseq_settings, fairseq_weights, namespace
from tests.random_models import ModelPair, model_pair


class Backend(enum.Enum):
    """As fairseq/dataclass/constants.py has some."""

    NCCL = "nccl"


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    pair = model_pair(6)
    pair.ours.final_logits_bias.zero_()  # fairseq's BART has none
    return pair


def older(model: BartForConditionalGeneration) -> dict[str, Any]:
    """As the authors' files: settings of the command line under ``args``."""
    return {"args": namespace(model), "model": fairseq_weights(model, with_output=False)}


def newer(model: BartForConditionalGeneration) -> dict[str, Any]:
    """As today's trainer: nested settings, some of fairseq's classes, and the state of a training."""
    cfg = {"model": namespace(model), "distributed_training": {"ddp_backend": Backend.NCCL}}
    history = [{"num_updates": np.int64(7), "lr_scheduler_state": {"best": np.float64(2.5)}}]
    extra = {"train_iterator": {"epoch": 1}, "path": Path("checkpoints")}
    weights = fairseq_weights(model) | {"classification_heads.mnli.dense.weight": torch.ones(2, 2)}
    return {"args": None, "cfg": cfg, "model": weights, "optimizer_history": history, "extra_state": extra}


def plain(model: BartForConditionalGeneration) -> dict[str, Any]:
    return {"args": None, "cfg": {"model": fairseq_settings(model)}, "model": fairseq_weights(model)}


class Node:
    """As omegaconf keeps a value (``_val``) or a configuration (``_content``); itself, it was tried by hand."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes, kind=dict, _metadata=argparse.Namespace(key="x"))


def nodes(model: BartForConditionalGeneration) -> dict[str, Any]:
    """With the configuration as it is in memory."""
    settings = {name: Node(_val=value) for name, value in fairseq_settings(model).items()}
    return {"args": None, "cfg": Node(_content={"model": Node(_content=settings)}), "model": fairseq_weights(model)}


def node_of_namespace(model: BartForConditionalGeneration) -> dict[str, Any]:
    return {"cfg": Node(_content={"model": Node(_val=namespace(model))}), "model": fairseq_weights(model)}


def joined(model: BartForConditionalGeneration) -> dict[str, Any]:
    """Of 2019: the projections of an attention in one matrix."""
    weights = fairseq_weights(model)
    for name in [name for name in weights if ".q_proj." in name]:
        parts = [weights.pop(name.replace(".q_proj.", f".{letter}_proj.")) for letter in "qkv"]
        weights[name.replace(".q_proj.", ".in_proj_")] = torch.cat(parts)
    return {"args": namespace(model), "model": weights}


@pytest.mark.parametrize("content", [older, newer, plain, nodes, node_of_namespace, joined])
@pytest.mark.parametrize("zipped", [True, False])
def test_the_same_model(pair: ModelPair, tmp_path: Path, content: Callable[..., dict[str, Any]], zipped: bool) -> None:
    """Its logits are equal, to the bit, in torch's format of today and in that before 1.6."""
    ours = pair.ours.float()
    path = tmp_path / "model.pt"
    torch.save(content(ours), path, _use_new_zipfile_serialization=zipped)
    read = BartForConditionalGeneration.from_pretrained(path)
    assert (read.config.dropout, read.config.attention_dropout, read.config.activation_dropout) == (0.15, 0.05, 0.0)
    with torch.no_grad():
        logits = [model(pair.input_ids, pair.attention_mask, pair.input_ids).logits for model in (read, ours)]
    assert torch.equal(*logits)


def test_half_precision_is_read(pair: ModelPair, tmp_path: Path) -> None:
    torch.save(older(pair.ours.half()), tmp_path / "model.pt")
    pair.ours.float()
    read = BartForConditionalGeneration.from_pretrained(tmp_path / "model.pt")
    assert {parameter.dtype for parameter in read.parameters()} == {torch.float32}


class Gadget:
    """Unpickled without care, this writes a file."""

    def __init__(self, function: Callable[..., Any], proof: Path) -> None:
        self.function = function
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        if self.function is eval:
            return eval, (f"open({str(self.proof)!r}, 'w')",)
        return self.function, (["touch", self.proof] if self.function is subprocess.call else f"touch {self.proof}",)


@pytest.mark.parametrize("function", [os.system, eval, subprocess.call])
@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_the_file_is_run(pair: ModelPair, tmp_path: Path, function: Any, zipped: bool) -> None:
    """Whether the rest of it is read or not."""
    gadget = Gadget(function, tmp_path / "proof")
    path = tmp_path / "model.pt"
    torch.save(older(pair.ours.float()) | {"extra_state": gadget}, path, _use_new_zipfile_serialization=zipped)
    try:
        BartForConditionalGeneration.from_pretrained(path)
    except InputError as error:
        assert "nothing of it was run" in str(error)
    assert not (tmp_path / "proof").exists()
    torch.load(path, weights_only=False)  # the gadget does work
    assert (tmp_path / "proof").exists()


def lose_heads(stored: dict[str, Any]) -> None:
    del stored["args"].decoder_attention_heads


def lose_settings(stored: dict[str, Any]) -> None:
    stored["args"] = None


def lose_weights(stored: dict[str, Any]) -> None:
    stored["model"] = argparse.Namespace()


def lose_tensor(stored: dict[str, Any]) -> None:
    del stored["model"]["encoder.layers.0.fc1.weight"]


def lose_embeddings(stored: dict[str, Any]) -> None:
    del stored["model"]["encoder.embed_positions.weight"]


def normalize_before(stored: dict[str, Any]) -> None:
    stored["args"].encoder_normalize_before = True


def untie(stored: dict[str, Any]) -> None:
    stored["model"]["decoder.embed_tokens.weight"] = stored["model"]["decoder.embed_tokens.weight"] + 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lose_heads, "its settings lack decoder_attention_heads"),
        (lose_settings, "holds no settings under `args` or `cfg`"),
        (lose_weights, "holds no state dict under `model`"),
        (lose_tensor, "lacks model.encoder.layers.0.fc1.weight"),
        (lose_embeddings, "lacks encoder.embed_positions.weight"),
        (normalize_before, "normalize_before=True is another model than BART"),
        (untie, "embed_tokens.weight differs from model.shared.weight"),
    ],
)
def test_another_file_is_refused(pair: ModelPair, tmp_path: Path, fault: Callable[..., None], said: str) -> None:
    stored = older(pair.ours.float())
    fault(stored)
    torch.save(stored, tmp_path / "model.pt")
    with pytest.raises(InputError) as refusal:
        BartForConditionalGeneration.from_pretrained(tmp_path / "model.pt")
    assert str(refusal.value).startswith(f"{tmp_path / 'model.pt'}: ") and said in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"PK\x03\x04 cut short"])
def test_no_model_at_all(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pt: "):
        BartForConditionalGeneration.from_pretrained(tmp_path / "model.pt")
