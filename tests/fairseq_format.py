"""Writing models as fairseq does: names, settings and dictionary as in its source (models/bart, data/dictionary.py)."""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bart.modeling.modeling_bart import BartForConditionalGeneration

FIRST, LAST = ["<s>", "<pad>", "</s>", "<unk>"], "<mask>"


def fairseq_settings(model: BartForConditionalGeneration) -> dict[str, Any]:
    """Those of `--arch bart_large` and of the command line, as far as they concern the model, and some others."""
    config = model.config
    return {
        **{"arch": "bart_large", "task": "denoising", "_name": "bart_large", "lr": [0.0004], "seed": 4},
        **{"encoder_embed_dim": config.d_model, "decoder_embed_dim": config.d_model},
        **{"encoder_layers": config.encoder_layers, "decoder_layers": config.decoder_layers},
        **{"encoder_attention_heads": config.encoder_attention_heads},
        **{"decoder_attention_heads": config.decoder_attention_heads},
        **{"encoder_ffn_embed_dim": config.encoder_ffn_dim, "decoder_ffn_embed_dim": config.decoder_ffn_dim},
        **{"max_source_positions": config.max_position_embeddings, "encoder_learned_pos": True},
        **{"activation_fn": config.activation_function, "no_scale_embedding": not config.scale_embedding},
        **{"dropout": 0.15, "attention_dropout": 0.05, "relu_dropout": 0.0, "layernorm_embedding": True},
        **{"encoder_normalize_before": False, "share_all_embeddings": True, "encoder_layerdrop": 0},
    }


def fairseq_weights(model: BartForConditionalGeneration, with_output: bool = True) -> dict[str, Tensor]:
    weights = {"encoder.version": torch.tensor([3.0]), "decoder.version": torch.tensor([3.0])}
    for name, tensor in model.state_dict().items():
        if name.startswith(("model.encoder.", "model.decoder.")):
            weights[name.removeprefix("model.")] = tensor
    if with_output:
        weights["decoder.output_projection.weight"] = model.model.shared.weight.detach()
    return weights


def namespace(model: BartForConditionalGeneration) -> argparse.Namespace:
    return argparse.Namespace(**fairseq_settings(model))


def write_dictionary(vocabulary: dict[str, int], merges: Path, folder: Path) -> None:
    """dict.txt, and the two files of "GPT-2", which numbers the same tokens in an order of its own."""
    tokens = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if token not in (*FIRST, LAST)]
    of_gpt2 = dict(zip(random.Random(0).sample(tokens, len(tokens)), range(len(tokens)), strict=True))
    (folder / "encoder.json").write_text(json.dumps(of_gpt2), encoding="utf-8")
    (folder / "vocab.bpe").write_bytes(merges.read_bytes())
    lines = [f"{of_gpt2[token]} {len(tokens) - row}" for row, token in enumerate(tokens)]
    (folder / "dict.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
