"""The building blocks of BART's encoder and decoder: positions, and the two kinds of layer.

Layers are post-norm: each sublayer's output is added to its input, then normalized (Vaswani et al. 2017, section 3.1).
Shapes: B sentences, S source length, T target length, D model, F feed-forward size, H heads; N target tokens without
padding, M source tokens likewise.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bart.configuration.configuration_bart import POSITION_OFFSET, BartConfig
from bart.errors import InputError
from bart.modeling.layers.attention import MultiHeadAttention, cast_for_autocast
from bart.modeling.layers.dropout import Dropout
from bart.modeling.layers.gelu_linear import gelu_linear
from bart.modeling.layers.kv_cache import DecodeStep, LayerCache
from bart.modeling.layers.unpadding import Unpadding

_PORTION = 512  # rows of D numbers
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class LearnedPositions(nn.Embedding):
    """Learned position embeddings, of which BART leaves the first two rows unused."""

    def __init__(self, max_positions: int, d_model: int) -> None:
        super().__init__(max_positions + POSITION_OFFSET, d_model)

    def forward(self, length: int, start: int = 0) -> Tensor:  # type: ignore[override]
        """Embeddings of ``length`` positions from ``start`` on: (length, D). Raises InputError past the last one."""
        max_positions = self.num_embeddings - POSITION_OFFSET
        if start + length > max_positions:
            raise InputError(
                f"a sequence of {start + length} tokens exceeds max_position_embeddings={max_positions}; truncate it"
            )
        return self.weight[POSITION_OFFSET + start : POSITION_OFFSET + start + length]


class EncoderLayer(nn.Module):
    """Self-attention over the source, then a feed-forward network."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        self.self_attn = MultiHeadAttention(config.d_model, config.encoder_attention_heads, config.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.encoder_ffn_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.activation = _ACTIVATIONS[config.activation_function]
        self.activation_dropout = Dropout(config.activation_dropout)
        self.dropout = Dropout(config.dropout)

    def forward(self, states: Tensor, mask: Tensor | None, unpadding: Unpadding | None = None) -> Tensor:
        """states: (B, S, D), or (M, D) by ``unpadding``; mask: bool, broadcastable to (B, H, S, S), or None."""
        shared = cast_for_autocast(states)
        keys, values = self.self_attn.project_keys_values(shared, unpadding)
        attended = self.self_attn(shared, keys, values, mask, unpadding=unpadding)
        states = self.self_attn_layer_norm(states + self.dropout(attended))
        states = self.final_layer_norm(_finite(states + self.dropout(_feed_forward(self, states))))
        return states


class DecoderLayer(nn.Module):
    """Causal self-attention over the target, attention to the encoder's states, then a feed-forward network."""

    def __init__(self, config: BartConfig) -> None:
        super().__init__()
        heads, dropout = config.decoder_attention_heads, config.attention_dropout
        self.self_attn = MultiHeadAttention(config.d_model, heads, dropout)
        self.self_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.encoder_attn = MultiHeadAttention(config.d_model, heads, dropout)
        self.encoder_attn_layer_norm = nn.LayerNorm(config.d_model)
        self.fc1 = nn.Linear(config.d_model, config.decoder_ffn_dim)
        self.fc2 = nn.Linear(config.decoder_ffn_dim, config.d_model)
        self.final_layer_norm = nn.LayerNorm(config.d_model)
        self.activation = _ACTIVATIONS[config.activation_function]
        self.activation_dropout = Dropout(config.activation_dropout)
        self.dropout = Dropout(config.dropout)

    def forward(
        self,
        states: Tensor,
        encoder_states: Tensor | None,
        encoder_mask: Tensor | None,
        cache: LayerCache | None = None,
        step: DecodeStep | None = None,
        unpadding: Unpadding | None = None,
        encoder_unpadding: Unpadding | None = None,
    ) -> Tensor:
        """One layer over all target tokens, or, with a cache, over those that are decoded now.

        Args:
            states: (B, T, D); with a cache the T tokens are a sentence's beams, or the next ones of its only beam.
                Or (N, D), by ``unpadding``.
            encoder_states: (B, S, D), the encoder's output; read only where there is no cache. Or (M, D), by
                ``encoder_unpadding``.
            encoder_mask: bool, broadcastable to (B, H, T, S), or None.
            cache: holds the cross-attention's keys and values, and takes the self-attention's as ``step`` says.

        Returns:
            of the shape of ``states``
        """
        attended = self._attend_to_target(states, cache, step, unpadding)
        states = self.self_attn_layer_norm(states + self.dropout(attended))
        if cache is not None:
            keys, values = cache.cross_keys, cache.cross_values
        else:
            assert encoder_states is not None
            keys, values = self.encoder_attn.project_keys_values(encoder_states, encoder_unpadding)
        attended = self.encoder_attn(cast_for_autocast(states), keys, values, encoder_mask, unpadding=unpadding)
        states = self.encoder_attn_layer_norm(states + self.dropout(attended))
        states = self.final_layer_norm(_finite(states + self.dropout(_feed_forward(self, states))))
        return states

    def _attend_to_target(
        self, states: Tensor, cache: LayerCache | None, step: DecodeStep | None, unpadding: Unpadding | None
    ) -> Tensor:
        states = cast_for_autocast(states)
        keys, values = self.self_attn.project_keys_values(states, unpadding)
        if cache is None:
            attended: Tensor = self.self_attn(states, keys, values, is_causal=True, unpadding=unpadding)
            return attended
        assert step is not None
        keys, values = cache.append(keys, values, step.cache_positions, step.cache_length)
        attended = self.self_attn(states, keys, values, step.attention_bias)
        return attended


def _feed_forward(layer: EncoderLayer | DecoderLayer, states: Tensor) -> Tensor:
    """(..., D) -> (..., D), by way of F."""
    if _exceeds_cpu_cache(states):
        portions = torch.split(states.flatten(0, -2), _PORTION)
        return torch.cat([_feed_forward(layer, rows) for rows in portions]).view_as(states)
    hidden = _finite(layer.fc1(states))  # (..., F)
    if _suits_gelu_linear(layer):
        return gelu_linear(hidden, layer.fc2)
    output: Tensor = layer.fc2(layer.activation_dropout(layer.activation(hidden)))
    return output


def _exceeds_cpu_cache(states: Tensor) -> bool:
    """Whether this is inference on a CPU, with more rows than its cache has room for: portions are faster then."""
    is_long = states.numel() > _PORTION * states.size(-1)
    return is_long and states.device.type == "cpu" and not torch.is_grad_enabled()


def _suits_gelu_linear(layer: EncoderLayer | DecoderLayer) -> bool:
    """Whether this is training, not compiled, with nothing between the GELU and the second linear layer."""
    is_plain = layer.activation is F.gelu and layer.activation_dropout.p == 0
    return is_plain and layer.training and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _finite(states: Tensor) -> Tensor:
    """In float16, infinities brought back to the largest number; anything else as it is.

    It holds 65504 at most. What a feed-forward network computes and adds can be more, until it is normalized, and a
    row with an infinity would be NaN from then on; what becomes of one with so large an entry hardly depends on its
    size. Not where gradients are taken: an overflow is to be seen then, so that its step is skipped.
    """
    if states.dtype != torch.float16 or torch.is_grad_enabled():
        return states
    largest = torch.finfo(torch.float16).max
    return states.clamp(-largest, largest)
