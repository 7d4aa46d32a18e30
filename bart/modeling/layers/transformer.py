"""The parts of BART's encoder and decoder: position embeddings, encoder layers and decoder layers.

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
from bart.modeling.layers.fused_layers import add_norm, is_plain, kernels_instead_of, project_add_norm
from bart.modeling.layers.gelu_linear import gelu_feed_forward, gelu_linear
from bart.modeling.layers.kv_cache import DecodeStep, LayerCache
from bart.modeling.layers.unpadding import Unpadding

_PORTION = 512  # rows of a feed-forward network that fit into a CPU's cache
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu}


class LearnedPositions(nn.Embedding):
    """Learned position embeddings; BART does not use the first two rows."""

    def __init__(self, max_positions: int, d_model: int) -> None:
        """Make the table for ``max_positions`` positions: (max_positions + 2, D)."""
        super().__init__(max_positions + POSITION_OFFSET, d_model)

    def forward(self, length: int, start: int | Tensor = 0) -> Tensor:  # type: ignore[override]
        """Return the embeddings of ``length`` positions from ``start`` on: (length, D).

        A tensor (1,) as ``start``, which is not checked, gives the embedding of that one position.

        Raises:
            InputError: there are not so many positions.
        """
        if isinstance(start, Tensor):
            return self.weight.index_select(0, start + POSITION_OFFSET)
        max_positions = self.num_embeddings - POSITION_OFFSET
        if start + length > max_positions:
            raise InputError(
                f"a sequence of {start + length} tokens exceeds max_position_embeddings={max_positions}; truncate it,"
                " or load the model with max_positions and train it"
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
        """Apply the layer to all source tokens.

        Args:
            states: (B, S, D), or with ``unpadding`` (M, D).
            mask: bool, broadcastable to (B, H, S, S), true if a token may be seen; None: all are seen.
            unpadding: maps the M tokens to their places in the padded sources.

        Returns:
            a tensor of the shape of ``states``
        """
        shared = cast_for_autocast(states)
        queries, keys, values, residual = self.self_attn.project(shared, states, unpadding)
        merged = self.self_attn(
            shared, keys, values, mask, unpadding=unpadding, queries=queries, project_output=False
        )
        states = project_add_norm(merged, self.self_attn.out_proj, self.dropout, residual, self.self_attn_layer_norm)
        return _feed_forward_add_norm(self, states)


class DecoderLayer(nn.Module):
    """Causal self-attention over the target, cross-attention to the source, then a feed-forward network."""

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
        """Apply the layer to all target tokens or, with a cache, to those that are decoded in this step.

        Args:
            states: (B, T, D), or with ``unpadding`` (N, D). With a cache the T tokens of a sentence are one of each of
                its beams, or the next ones of its only beam.
            encoder_states: (B, S, D), or with ``encoder_unpadding`` (M, D); needed only without a cache.
            encoder_mask: bool, broadcastable to (B, H, T, S), true if a token may be seen; None: all are seen.
            cache: has the keys and values of cross-attention, and stores those of self-attention.
            step: the positions of the tokens in the cache; needed only with one.
            unpadding: maps the N tokens to their places in the padded targets; without a cache.
            encoder_unpadding: maps the M tokens to their places in the padded sources.

        Returns:
            a tensor of the shape of ``states``
        """
        # Self-attention: over all target tokens, or over those in the cache.
        shared = cast_for_autocast(states)
        queries, keys, values, residual = self.self_attn.project(shared, states, unpadding)
        mask = None
        if cache is not None:
            assert step is not None
            keys, values = cache.append(keys, values, step.cache_positions, step.cache_length)
            mask = step.attention_bias
        merged = self.self_attn(
            shared, keys, values, mask, cache is None, unpadding, queries=queries, project_output=False
        )
        states = project_add_norm(merged, self.self_attn.out_proj, self.dropout, residual, self.self_attn_layer_norm)

        # Cross-attention.
        if cache is not None:
            keys, values = cache.cross_keys, cache.cross_values
        else:
            assert encoder_states is not None
            keys, values = self.encoder_attn.project_keys_values(encoder_states, encoder_unpadding)
        shared = cast_for_autocast(states)
        queries, residual = self.encoder_attn.project_queries(shared, states, unpadding)
        merged = self.encoder_attn(
            shared, keys, values, encoder_mask, unpadding=unpadding, queries=queries, project_output=False
        )
        out_proj, norm = self.encoder_attn.out_proj, self.encoder_attn_layer_norm
        states = project_add_norm(merged, out_proj, self.dropout, residual, norm)
        return _feed_forward_add_norm(self, states)


def _feed_forward_add_norm(layer: EncoderLayer | DecoderLayer, states: Tensor) -> Tensor:
    """Apply the feed-forward network of a layer, its residual and its norm: (..., D) to (..., D)."""
    kernels = kernels_instead_of(states, layer.fc1, layer.fc2, layer.final_layer_norm)
    if kernels is None or not _has_plain_gelu(layer) or layer.dropout.p == 1:
        added: Tensor = layer.final_layer_norm(_finite(states + layer.dropout(_feed_forward(layer, states))))
        return added
    parameters = layer.fc1.weight, layer.fc1.bias, layer.fc2.weight
    branch, residual = gelu_feed_forward(kernels, cast_for_autocast(states), *parameters)
    return add_norm(kernels, branch, layer.fc2.bias, layer.dropout, residual, layer.final_layer_norm)


def _feed_forward(layer: EncoderLayer | DecoderLayer, states: Tensor) -> Tensor:
    """Apply the feed-forward network of a layer: (..., D) to (..., D)."""
    if _exceeds_cpu_cache(states):
        portions = torch.split(states.flatten(0, -2), _PORTION)
        return torch.cat([_feed_forward(layer, rows) for rows in portions]).view_as(states)
    hidden = _finite(layer.fc1(states))  # (..., F)
    if _suits_gelu_linear(layer):
        return gelu_linear(hidden, layer.fc2)
    output: Tensor = layer.fc2(layer.activation_dropout(layer.activation(hidden)))
    return output


def _exceeds_cpu_cache(states: Tensor) -> bool:
    """Return whether this is inference on a CPU with so many rows that portions, which fit its cache, are faster."""
    is_inference = states.device.type == "cpu" and not torch.is_grad_enabled()
    return is_inference and states.numel() > _PORTION * states.size(-1)  # last: compiled code depends on what it reads


def _suits_gelu_linear(layer: EncoderLayer | DecoderLayer) -> bool:
    """Return whether this is training, not compiled, with only GELU before a second layer that is plainly linear."""
    is_training = layer.training and torch.is_grad_enabled()
    return is_training and _has_plain_gelu(layer) and is_plain(layer.fc2) and not torch.compiler.is_compiling()


def _has_plain_gelu(layer: EncoderLayer | DecoderLayer) -> bool:
    """Return whether only GELU is between the two linear layers."""
    return layer.activation is F.gelu and not (layer.training and layer.activation_dropout.p > 0)


def _finite(states: Tensor) -> Tensor:
    """Clamp float16 to its finite range, in inference; return anything else as it is.

    float16 ends at 65504, which a feed-forward network and its residual can exceed before they are normalized. A row
    with an infinity would then become NaN, while one with a clamped entry is normalized to nearly the same result. With
    gradients nothing is clamped, so that an overflow is found and its step skipped.
    """
    if states.dtype != torch.float16 or torch.is_grad_enabled():
        return states
    largest = torch.finfo(torch.float16).max
    return states.clamp(-largest, largest)
