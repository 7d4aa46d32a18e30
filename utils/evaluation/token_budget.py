"""Find how many source tokens a search should take at once: what the memory of a GPU holds, or what is fast on a CPU.

Shapes: B sources of a batch, S tokens of its longest one, K beams, T tokens of the longest output, D model, F feed
forward, V vocabulary, N decoder layers.
"""

from dataclasses import dataclass

import numpy as np
import torch

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import GenerationConfig

from ..data.batch import PADDING_MULTIPLE, padded_length
from ..data.batch_sampler import batches_by_tokens

# On a CPU: searches of bart_mini take 5.9, 4.6, 4.4, 4.3, 4.7 and 5.0 seconds at 1,024, 2,048, 4,096 ... 32,768 tokens,
# and the shape of bart-base is fastest with 16 sources of 500 tokens (docs/benchmarks.md).
_CPU_TOKENS = 8192
# On a GPU: at 128 sources of 1,024 tokens the products of bart-large fill an H200, and more only wait longer.
_MOST_GPU_TOKENS = 2**17
_SHARE = 1 / 8  # of the free memory, for one batch: graphs of other shapes and the allocator need the rest
_GPU_MULTIPLE = 128  # CUDA graphs are captured for source lengths rounded so; batches of one length should be alike
_ENCODER_COPIES = 10  # tensors (B, S, D) that a layer of the encoder holds at once, beside two (B, S, F)
_SCORE_COPIES = 4  # tensors (B, K, V) of float32 that a step holds at once: logits, scores and what sorting them takes


@dataclass(frozen=True)
class TokenBudget:
    """The source tokens of a batch; each source costs some more, whatever its length."""

    tokens: int
    row_tokens: int = 0  # what the outputs of a source cost, counted in source tokens
    multiple: int = PADDING_MULTIPLE  # lengths are rounded up to it

    def batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        """Return the rows of each batch of sources of these lengths (N,), the longest sources first."""
        return batches_by_tokens(padded_length(lengths, self.multiple) + self.row_tokens, self.tokens)


def find_token_budget(
    config: BartConfig, settings: GenerationConfig, dtype: torch.dtype, device: torch.device
) -> TokenBudget:
    """Return the budget of a search.

    Args:
        config: of the model.
        settings: of the search, with ``max_length`` (``check_call`` returns them so).
        dtype: that the model computes in.
        device: that it is on. Of a GPU, the memory that is free now counts.
    """
    per_token, per_row = bytes_of_search(config, settings, dtype.itemsize)
    row_tokens = -(-per_row // per_token)
    if device.type != "cuda":
        return TokenBudget(_CPU_TOKENS, row_tokens)
    free = torch.cuda.mem_get_info(device)[0]
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for later tensors
    tokens = int((free + kept) * _SHARE) // per_token
    return TokenBudget(max(1, min(tokens, _MOST_GPU_TOKENS)), row_tokens, _GPU_MULTIPLE)


def bytes_of_search(config: BartConfig, settings: GenerationConfig, itemsize: int) -> tuple[int, int]:
    """Estimate the bytes that a search needs for each source token, and for each source beside its tokens.

    A token needs keys and values in the cross-attention of every decoder layer (2 N D numbers), and what one layer of
    the encoder computes. A source needs keys and values of self-attention (2 N D for each of K T positions), and its
    beams' scores (K V).
    """
    assert settings.max_length is not None
    cached = 2 * config.decoder_layers * config.d_model * itemsize
    encoder = (_ENCODER_COPIES * config.d_model + 2 * config.encoder_ffn_dim) * itemsize
    scores = _SCORE_COPIES * config.vocab_size * torch.float32.itemsize
    return cached + encoder, settings.num_beams * (cached * settings.max_length + scores)
