"""How much arithmetic a training step is, and how much of it the machine could do.

Counted are matrix products alone, of tokens that are no padding; a backward pass takes twice the forward pass. What a
frozen weight saves is not subtracted, nor is what gradient checkpointing computes again added.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from bart.configuration.configuration_bart import BartConfig

_SIDE = {"cpu": 1024, "cuda": 8192}  # of the matrices whose product is timed
_TRIALS = 6


@dataclass
class LengthSums:
    """What the arithmetic of examples depends on: sums over them of S and T, the tokens of source and target."""

    examples: float
    sources: float
    targets: float
    source_squares: float
    target_squares: float
    products: float  # of an example's S and T


def training_operations(config: "BartConfig", sums: LengthSums) -> float:
    """Floating-point operations (a multiplication and an addition are two) of forward and backward pass."""
    d, vocabulary = config.d_model, config.vocab_size
    encoder, decoder = config.encoder_layers, config.decoder_layers
    per_source_token = encoder * (8 * d * d + 4 * d * config.encoder_ffn_dim) + decoder * 4 * d * d
    per_target_token = decoder * (12 * d * d + 4 * d * config.decoder_ffn_dim) + 2 * d * vocabulary
    # A query over n keys takes 4 d n; a target's queries see (T + 1) / 2 of its keys in the mean.
    encoder_attention = encoder * 4 * d * sums.source_squares
    decoder_attention = decoder * 4 * d * ((sums.target_squares + sums.targets) / 2 + sums.products)
    forward = sums.sources * per_source_token + sums.targets * per_target_token + encoder_attention + decoder_attention
    return 3 * forward


@cache
def measured_peak(device: str, kind: "torch.dtype") -> float:
    """Operations per second of a product of large square matrices: the best of some trials, well under a second.

    ``device`` is "cpu" or "cuda"; float32 is by TF32 where torch is allowed that. Draws no random numbers.
    """
    import torch

    side = _SIDE[device]
    matrix = torch.full((side, side), 0.5, dtype=kind, device=device)
    seconds = []
    for _ in range(_TRIALS):
        _wait_for(device)
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        _wait_for(device)
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds)


def _wait_for(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
