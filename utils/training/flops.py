"""Floating-point operations of training steps, and the machine's measured peak.

Only matrix products of tokens that are not padding are counted. A backward pass counts twice its forward pass, also if
weights are frozen (which saves work) or gradient checkpointing computes layers again (which adds work).
"""

import time
from dataclasses import dataclass
from functools import cache

import torch

from bart.configuration.configuration_bart import BartConfig

_SIDE = {"cpu": 1024, "cuda": 8192}  # rows and columns of the matrices whose product is timed
_TRIALS = 6


@dataclass
class LengthSums:
    """Sums over examples that determine their operations; S and T are the tokens of an example's source and target."""

    examples: float  # their number
    sources: float  # S
    targets: float  # T
    source_squares: float  # S * S
    target_squares: float  # T * T
    products: float  # S * T


def training_flops(config: BartConfig, sums: LengthSums) -> float:
    """Return the floating-point operations of forward and backward pass; a multiply-add counts as two."""
    d, vocabulary = config.d_model, config.vocab_size
    encoder, decoder = config.encoder_layers, config.decoder_layers
    per_source_token = encoder * (8 * d * d + 4 * d * config.encoder_ffn_dim) + decoder * 4 * d * d
    per_target_token = decoder * (12 * d * d + 4 * d * config.decoder_ffn_dim) + 2 * d * vocabulary
    # Attention of one query over n keys takes 4 d n; in causal attention a query sees (T + 1) / 2 keys on average.
    encoder_attention = encoder * 4 * d * sums.source_squares
    decoder_attention = decoder * 4 * d * ((sums.target_squares + sums.targets) / 2 + sums.products)
    forward = sums.sources * per_source_token + sums.targets * per_target_token + encoder_attention + decoder_attention
    return 3 * forward


@cache
def measured_peak(device: str, dtype: torch.dtype) -> float:
    """Measure the operations per second of a product of large square matrices: the best of a few trials.

    The entries are normal random numbers, as weights and states are: a GPU at its power limit multiplies matrices of
    equal entries faster. Takes well under a second, and leaves torch's global generators as they are.

    Args:
        device: "cpu" or "cuda".
        dtype: of the matrices; float32 is computed in TF32 if torch is allowed to.
    """
    side = _SIDE[device]
    generator = torch.Generator(device).manual_seed(0)
    matrix = torch.randn(side, side, generator=generator, device=device).to(dtype)
    seconds = []
    for _ in range(_TRIALS):
        _wait_for(device)
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        _wait_for(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def _wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
