"""Small BART models of random shape and weights, as a pair: transformers' and ours with the same weights."""

import random
from dataclasses import dataclass

import torch
import transformers
from torch import Tensor

from bart.checkpoints.state_dict import TIED_TO_EMBEDDINGS
from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration


@dataclass
class ModelPair:
    """The same model twice, in float64 and evaluation mode, and a padded batch of sources for it."""

    theirs: transformers.BartForConditionalGeneration
    ours: BartForConditionalGeneration
    input_ids: Tensor  # (B, S)
    attention_mask: Tensor  # (B, S), 0 where padded


def random_shape(rng: random.Random) -> dict[str, object]:
    """Keywords of a configuration, for both libraries."""
    heads = rng.choice([1, 2, 4])
    return {
        "vocab_size": rng.randint(48, 80),
        "d_model": heads * rng.choice([8, 12, 16]),
        "encoder_layers": rng.randint(1, 2),
        "decoder_layers": rng.randint(1, 2),
        "encoder_attention_heads": heads,
        "decoder_attention_heads": heads,
        "encoder_ffn_dim": rng.randint(4, 24),
        "decoder_ffn_dim": rng.randint(4, 24),
        "max_position_embeddings": 64,
        "activation_function": rng.choice(["gelu", "relu"]),
        "scale_embedding": rng.random() < 0.5,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "init_std": rng.choice([0.1, 0.3, 0.5]),
    }


def model_pair(seed: int, eos_bias: float = 0.0) -> ModelPair:
    """A pair drawn by ``seed``; ``eos_bias`` is added to the end of sentence's logit, so that outputs end early."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    shape = random_shape(rng)
    theirs = transformers.BartForConditionalGeneration(
        transformers.BartConfig(**shape, forced_eos_token_id=None, attn_implementation="eager")
    )
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # so that biases and norms are not at their start values
        theirs.final_logits_bias.normal_(std=0.5)
        theirs.final_logits_bias[0, 2] += eos_bias
    theirs = theirs.double().eval()
    ours = BartForConditionalGeneration(BartConfig(**shape, forced_eos_token_id=None)).double().eval()
    missing, surplus = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not missing and set(surplus) <= set(TIED_TO_EMBEDDINGS)
    input_ids, attention_mask = random_batch(rng, shape["vocab_size"])
    return ModelPair(theirs, ours, input_ids, attention_mask)


def random_batch(rng: random.Random, vocab_size: int) -> tuple[Tensor, Tensor]:
    """One to four sources of 2 to 12 tokens, padded on the right: input ids and attention mask, (B, S)."""
    lengths = [rng.randint(2, 12) for _ in range(rng.randint(1, 4))]
    input_ids = torch.full((len(lengths), max(lengths)), 1)
    for row, length in zip(input_ids, lengths, strict=True):
        row[:length] = torch.tensor([0, *(rng.randint(4, vocab_size - 1) for _ in range(length - 2)), 2])
    return input_ids, (input_ids != 1).long()
