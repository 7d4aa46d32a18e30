"""Files as published BARTs have them, in small and with random weights: stand-ins, as the real ones cannot be had here.

Everything is written with torch, safetensors and json alone, so that no reader is tried on what its own writer wrote.
docs/published_checkpoints.md says which published files have which form.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]

TABLE = "shared.weight"
COUNTERS = {"encoder.version": torch.tensor([3.0]), "decoder.version": torch.tensor([3.0])}
SIZES = {"d_model": 16, "layers": 1, "heads": 2, "ffn": 24}


def bare_weights(vocab_size: int, positions: int, seed: int = 0) -> Weights:
    """The tensors of a BART's encoder and decoder by the names of the bare model, random."""
    generator = torch.Generator().manual_seed(seed)
    width, inner = SIZES["d_model"], SIZES["ffn"]
    shapes: dict[str, tuple[int, ...]] = {TABLE: (vocab_size, width)}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def norm(name: str) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    for side, attentions in (("encoder", ["self_attn"]), ("decoder", ["self_attn", "encoder_attn"])):
        shapes[f"{side}.embed_positions.weight"] = (positions + 2, width)
        norm(f"{side}.layernorm_embedding")
        for layer in (f"{side}.layers.{number}" for number in range(SIZES["layers"])):
            for attention in attentions:
                for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
                    linear(f"{layer}.{attention}.{part}", width, width)
                norm(f"{layer}.{attention}_layer_norm")
            linear(f"{layer}.fc1", inner, width)
            linear(f"{layer}.fc2", width, inner)
            norm(f"{layer}.final_layer_norm")
    return {name: 0.3 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def config_values(vocab_size: int, positions: int) -> dict[str, Any]:
    """A config.json."""
    return {
        "model_type": "bart",
        "architectures": ["BartForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": vocab_size,
        "max_position_embeddings": positions,
        "d_model": SIZES["d_model"],
        **{f"{side}_layers": SIZES["layers"] for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": SIZES["heads"] for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": SIZES["ffn"] for side in ("encoder", "decoder")},
        **{"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2},
        **{"forced_bos_token_id": 0, "forced_eos_token_id": 2, "num_beams": 4, "max_length": 20},
    }


def prefixed(weights: Weights) -> Weights:
    return {f"model.{name}": tensor for name, tensor in weights.items()}


def with_bias(weights: Weights) -> Weights:
    """With the bias of the logits, which is not zero in a file that has one here."""
    vocabulary = next(tensor for name, tensor in weights.items() if name.endswith(TABLE)).size(0)
    return {**weights, "final_logits_bias": torch.linspace(-1, 1, vocabulary)[None]}


def whole(bare: Weights) -> Weights:
    """All that transformers 3 and 4 wrote into a .bin: the table four times, and the bias."""
    copies = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
    return {**with_bias(prefixed(bare)), **dict.fromkeys(copies, bare[TABLE])}


def class_head(bare: Weights) -> Weights:
    width = SIZES["d_model"]
    return {
        "classification_head.dense.weight": torch.ones(width, width),
        "classification_head.dense.bias": torch.ones(width),
        "classification_head.out_proj.weight": torch.ones(3, width),
        "classification_head.out_proj.bias": torch.ones(3),
    }


def table_as(name: str, weights: Weights) -> Weights:
    """With the table under another of its names alone."""
    table = next(own for own in weights if own.endswith(TABLE))
    return {**{own: tensor for own, tensor in weights.items() if own != table}, name: weights[table]}


def half_prefixed(bare: Weights) -> Weights:
    """The encoder's names with, the decoder's without ``model.``."""
    encoder = {name: tensor for name, tensor in bare.items() if name.startswith("encoder.")}
    return {**{name: tensor for name, tensor in bare.items() if name not in encoder}, **prefixed(encoder)}


# The name of a form, and how a file of it is made from the tensors of a bare model.
FORMS: dict[str, Callable[[Weights], Weights]] = {
    "bare": dict,
    "bare, with counters": lambda bare: {**bare, **COUNTERS},
    "bare, with counters and copies of the table": lambda bare: {
        **bare,
        **COUNTERS,
        **dict.fromkeys(("encoder.embed_tokens.weight", "decoder.embed_tokens.weight"), bare[TABLE]),
    },
    "bare, with a bias": with_bias,
    "bare, the table as embed_tokens alone": lambda bare: table_as("decoder.embed_tokens.weight", bare),
    "bare, the table as lm_head alone": lambda bare: table_as("lm_head.weight", bare),
    "bare, with a class head": lambda bare: {**bare, **COUNTERS, **class_head(bare)},
    "whole": whole,
    "whole, with counters": lambda bare: {**whole(bare), **prefixed(COUNTERS)},
    "whole, with counters and a class head": lambda bare: {**whole(bare), **prefixed(COUNTERS), **class_head(bare)},
    "whole, with lm_head.bias": lambda bare: {**whole(bare), "lm_head.bias": torch.ones(len(bare[TABLE]))},
    "whole, with the head of question answering": lambda bare: {
        **whole(bare),
        **{"qa_outputs.weight": torch.ones(2, SIZES["d_model"]), "qa_outputs.bias": torch.ones(2)},
    },
    "the table once": lambda bare: with_bias(prefixed(bare)),
    "the table once, no bias": prefixed,
    "the decoder's table alone": lambda bare: table_as("model.decoder.embed_tokens.weight", with_bias(prefixed(bare))),
    "the encoder's table alone": lambda bare: table_as("model.encoder.embed_tokens.weight", prefixed(bare)),
    "lm_head alone": lambda bare: table_as("lm_head.weight", with_bias(prefixed(bare))),
    "names of both kinds": half_prefixed,
}


def _write_safetensors(weights: Weights, path: Path) -> None:
    save_file({name: tensor.clone() for name, tensor in weights.items()}, path, {"format": "pt"})


def _write_bin_of_2020(weights: Weights, path: Path) -> None:
    """Before torch 1.6 a file was no zip archive."""
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def _write_shards(write: Callable[[Weights, Path], None], weights: Weights, path: Path) -> None:
    """Two files and their index; the table and its copies are in both."""
    names = list(weights)
    parts = {f"{path.stem}-0000{part + 1}-of-00002{path.suffix}": names[part::2] for part in range(2)}
    for file, part in parts.items():
        write({name: weights[name] for name in part}, path.parent / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (path.parent / f"{path.name}.index.json").write_text(json.dumps(index))


# The name of a kind of files, and how it is written into a folder.
CONTAINERS: dict[str, Callable[[Weights, Path], None]] = {
    "safetensors": lambda weights, folder: _write_safetensors(weights, folder / "model.safetensors"),
    "bin": lambda weights, folder: torch.save(weights, folder / "pytorch_model.bin"),
    "bin of 2020": lambda weights, folder: _write_bin_of_2020(weights, folder / "pytorch_model.bin"),
    "shards": lambda weights, folder: _write_shards(_write_safetensors, weights, folder / "model.safetensors"),
    "bin shards": lambda weights, folder: _write_shards(torch.save, weights, folder / "pytorch_model.bin"),
}


def write_model(
    folder: Path, form: str, container: str, bare: Weights, dtype: torch.dtype = torch.float32
) -> dict[str, Any]:
    """Write config.json and the weights; returns the configuration."""
    folder.mkdir(parents=True)
    values = config_values(len(bare[TABLE]), len(bare["encoder.embed_positions.weight"]) - 2)
    (folder / "config.json").write_text(json.dumps(values))
    CONTAINERS[container]({name: tensor.to(dtype) for name, tensor in FORMS[form](bare).items()}, folder)
    return values
