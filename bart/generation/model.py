"""The interface that a search needs of a model. It keeps this package free of imports of the model.

Shapes: B sentences, K beams, R = B * K rows, S source length, T tokens, D model, V vocabulary.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.layers.kv_cache import DecoderCache, DecodeStep


class CachedDecoder(Protocol):
    """A decoder of full outputs or, with a cache, of one token at a time."""

    def __call__(self, input_ids: Tensor, encoder_states: Tensor, attention_mask: Tensor | None, /) -> Tensor:
        """Decode all tokens (R, T), given the encoder's states (R, S, D) and their mask (R, S): (R, T, D)."""

    def embed(self, input_ids: Tensor, start: int | Tensor) -> Tensor:
        """Embed tokens (R, T) at the positions from ``start`` on: (R, T, D). If it is a tensor (1,), T is 1."""

    def decode_next(self, states: Tensor, encoder_mask: Tensor | None, cache: DecoderCache, step: DecodeStep) -> Tensor:
        """Decode embedded tokens (R, T, D) that follow those in the cache: (R, T, D)."""

    def new_cache(self, encoder_states: Tensor, beams: int, max_length: int) -> DecoderCache:
        """Return an empty cache for ``beams`` outputs of up to ``max_length`` tokens for each source (B, S, D)."""

    def reset_cache(self, cache: DecoderCache, encoder_states: Tensor) -> None:
        """Empty a cache, for other sources of the same shape (B, S, D)."""


class SearchableModel(Protocol):
    """An encoder, a decoder and an output layer, as ``BartForConditionalGeneration`` has them."""

    training: bool

    @property
    def config(self) -> BartConfig:
        """The vocabulary, the special tokens and the default settings of a search."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""

    def get_encoder(self) -> Callable[[Tensor | None, Tensor | None], Tensor]:
        """Return the encoder: from tokens (B, S) and their mask (B, S) to states (B, S, D)."""

    def get_decoder(self) -> CachedDecoder:
        """Return the decoder."""

    def project_to_vocabulary(self, states: Tensor) -> Tensor:
        """Project decoder states (..., D) to logits (..., V)."""


def next_logits(
    model: SearchableModel, cache: DecoderCache, mask: Tensor | None, step: DecodeStep, states: Tensor
) -> Tensor:
    """Decode the newest tokens' embeddings (R, 1, D) to the logits of the tokens after them: float32 (R, V)."""
    decoded = model.get_decoder().decode_next(states, mask, cache, step)  # (R, 1, D)
    return model.project_to_vocabulary(decoded[:, -1]).to(torch.float32)
