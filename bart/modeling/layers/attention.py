"""Multi-head attention (Vaswani et al. 2017, section 3.2.2), for self- and cross-attention.

Shapes: B sequences (in the decoder: B sentences times K beams), T queries, S keys, D model, H heads, Dh = D / H;
N tokens of all sequences without padding.
"""

from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bart.modeling.kernels.available import triton_kernels
from bart.modeling.layers.blocked_attention import blocked_attention, lowest, sees_nothing
from bart.modeling.layers.fused_layers import is_plain, kernels_instead_of
from bart.modeling.layers.joint_projection import join_parameters, project_together
from bart.modeling.layers.unpadding import Unpadding

_FEW_QUERIES = 16  # per sentence, at most, in a decoding step
_CUDNN = {"cuda"}  # devices whose attention may be cuDNN's
_HIDDEN_KEYS = 8  # appended where cuDNN may fail


class MultiHeadAttention(nn.Module):
    """Projections to queries, keys and values, scaled dot-product attention, and the output projection."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        """Make the layer for states of size ``d_model``, which ``heads`` divides, with ``dropout`` of its weights."""
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.q_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.attention_dtype: torch.dtype | None = None  # of keys and values; None: as projected
        self._joint: tuple[Tensor, Tensor] | None = None  # (3D, D) and (3D): queries, keys, values

    def project(
        self, states: Tensor, residual: Tensor, unpadding: Unpadding | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Project states to the queries, keys and values of self-attention.

        Args:
            states: (B, T, D), or with ``unpadding`` (N, D); under autocast in its type.
            residual: the same states, maybe in another type, to which the output will be added.
            unpadding: maps the N tokens to their places in the padded sequences.

        Returns:
            queries, keys and values, each (B, H, T, Dh), and the residual to use: on a GPU its gradient is then added
            within the product that computes the gradient of ``states``
        """
        kernels = self._training_kernels(states)
        if kernels is not None:
            *projected, residual = project_together(kernels, states, self.q_proj, self.k_proj, self.v_proj)
        elif self._joint is not None:
            projected = list(F.linear(states, *self._joint).chunk(3, -1))
        else:
            keys, values = self.project_keys_values(states, unpadding)
            return self._split_heads(self.q_proj(states), unpadding), keys, values, residual
        queries, keys, values = (self._split_heads(part, unpadding) for part in projected)
        return queries, keys, values, residual

    def project_queries(
        self, states: Tensor, residual: Tensor, unpadding: Unpadding | None = None
    ) -> tuple[Tensor, Tensor]:
        """Project states to the queries of cross-attention, and return them with the residual, as ``project`` does."""
        kernels = self._training_kernels(states)
        if kernels is None:
            queries = self.q_proj(states)
        else:
            queries, residual = project_together(kernels, states, self.q_proj)
        return self._split_heads(queries, unpadding), residual

    def project_keys_values(self, states: Tensor, unpadding: Unpadding | None = None) -> tuple[Tensor, Tensor]:
        """Project the attended states to keys and values.

        Args:
            states: (B, S, D), or with ``unpadding`` (N, D).
            unpadding: maps the N tokens to their places in the padded sequences.

        Returns:
            keys and values, each (B, H, S, Dh)
        """
        states = cast_for_autocast(states)
        kernels = self._training_kernels(states)
        if kernels is not None:
            keys, values, _ = project_together(kernels, states, self.k_proj, self.v_proj)
        elif self._joint is not None:
            weight, bias = (parameters[states.size(-1) :] for parameters in self._joint)
            keys, values = F.linear(states, weight, bias).chunk(2, -1)
        else:
            keys, values = self.k_proj(states), self.v_proj(states)
        if self.attention_dtype is not None:
            keys, values = keys.to(self.attention_dtype), values.to(self.attention_dtype)
        return self._split_heads(keys, unpadding), self._split_heads(values, unpadding)

    def join_projections(self) -> None:
        """Concatenate the weights of queries, keys and values for inference; the parameters become views of these."""
        if all(map(is_plain, linears := (self.q_proj, self.k_proj, self.v_proj))):
            self._joint = join_parameters(*linears)

    def forward(
        self,
        states: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        unpadding: Unpadding | None = None,
        queries: Tensor | None = None,
        project_output: bool = True,
    ) -> Tensor:
        """Attend from ``states`` to ``keys`` and ``values``.

        Args:
            states: (B, T, D), or with ``unpadding`` (N, D): the queries are projected from them.
            keys: (B, H, S, Dh), from ``project_keys_values``; attention is computed in their type.
            values: (B, H, S, Dh), likewise.
            mask: bool, broadcastable to (B, H, T, S), true if a query may see a key; None: all keys are seen. A query
                that may see no key gets zeros. Or floats, added to the scores (``DecodeStep.attention_bias``).
            is_causal: query t sees only keys up to t; needs T = S and no mask.
            unpadding: maps the N tokens to their places in the padded sequences.
            queries: (B, H, T, Dh), if they are projected already.
            project_output: False leaves the output projection to the caller.

        Returns:
            a tensor of the shape of ``states``
        """
        if queries is None:
            queries = self._split_heads(self.q_proj(states), unpadding)  # (B, H, T, Dh)
        dropout = self.dropout if self.training else 0.0
        attn_output = _sdpa(queries.to(keys.dtype), keys, values, mask, dropout, is_causal)  # (B, H, T, Dh)
        merged = attn_output.transpose(1, 2).flatten(2).to(states.dtype)  # (B, T, D)
        output = merged if unpadding is None else unpadding.unpad(merged)
        return self.out_proj(output) if project_output else output

    def _training_kernels(self, states: Tensor) -> ModuleType | None:
        """Return the kernels if this is training and they can take part in the projections.

        All layers' keys and values of the sources in one product would save a few launches more. But the product, or
        its gradient, would be held as a whole beside its parts (2 GB for 40 sources of 1,024 tokens), gradient
        checkpointing could not drop it, and a layer would need weights that FSDP has not gathered.
        """
        if not (self.training and torch.is_grad_enabled()):
            return None
        return kernels_instead_of(states, self.q_proj, self.k_proj, self.v_proj)

    def _split_heads(self, states: Tensor, unpadding: Unpadding | None) -> Tensor:
        """Split the last dimension into heads: (B, T, D), or with ``unpadding`` (N, D), to (B, H, T, Dh)."""
        if unpadding is not None:
            states = unpadding.pad(states)
        return states.view(*states.shape[:-1], self.heads, -1).transpose(1, 2)


def _sdpa(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, is_causal: bool
) -> Tensor:
    """Compute scaled dot-product attention: (B, H, T, Dh).

    The function of torch does it, unless this project has a faster one.
    """
    # The size comes last: compiled code depends on what it reads.
    has_few_queries = not torch.is_grad_enabled() and not is_causal and queries.size(2) <= _FEW_QUERIES
    if has_few_queries and dropout == 0:
        kernels = triton_kernels(queries)
        if kernels is not None and kernels.suits_decode_attention(queries, keys, values, mask):
            attn_output: Tensor = kernels.decode_attention(queries, keys, values, mask)
            return attn_output
    if queries.device.type == "cpu":
        if has_few_queries and queries.dtype == torch.bfloat16:
            return _decoding_attention(queries, keys, values, mask)
        if _suits_blocks(queries, mask, dropout):
            if torch.compiler.is_compiling():
                from bart.modeling.layers.uncompiled_attention import uncompiled_attention

                return uncompiled_attention(queries, keys, values, mask, dropout, is_causal)
            return blocked_attention(queries, keys, values, mask, dropout, is_causal)
    if mask is not None and keys.requires_grad and _cudnn_may_fail(keys):
        keys, values = (F.pad(states, (0, 0, 0, _HIDDEN_KEYS)) for states in (keys, values))
        mask = F.pad(mask, (0, _HIDDEN_KEYS))  # False: they are not seen
    return F.scaled_dot_product_attention(queries, keys, values, mask, dropout, is_causal)


def _cudnn_may_fail(keys: Tensor) -> bool:
    """Return whether cuDNN's backward pass with a mask may be NaN: pytorch issue 196678, torch 2.11."""
    return keys.device.type in _CUDNN and keys.size(-2) % 128 == 64


def cast_for_autocast(states: Tensor) -> Tensor:
    """Cast to autocast's type, if it is on, so that states for several projections are cast and kept only once."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def cast_for_kernels(states: Tensor) -> Tensor:
    """Cast to autocast's type if kernels will read the states. They return that type, and then need it alone."""
    return states if triton_kernels(states) is None else cast_for_autocast(states)


def padding_mask(attention_mask: Tensor | None) -> Tensor | None:
    """Convert a mask (B, S) of 0 for padding and 1 to bool (B, 1, 1, S), for all heads and queries. None stays None."""
    return None if attention_mask is None else attention_mask.to(torch.bool)[:, None, None, :]


def _suits_blocks(queries: Tensor, mask: Tensor | None, dropout: float) -> bool:
    """Return whether ``blocked_attention`` is faster than torch's kernel, and can have this mask.

    It is faster in bfloat16 or with dropout. The mask, if there is one, must be the same for all queries of a sentence.
    """
    is_slow = dropout > 0 or queries.dtype == torch.bfloat16
    return is_slow and (mask is None or (mask.dtype == torch.bool and mask.size(-2) == 1))


def _decoding_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Compute softmax(Q K^T / sqrt(Dh)) V from queries (B, H, T, Dh), keys and values (B, H, S, Dh): (B, H, T, Dh).

    For few queries in bfloat16, torch's fused attention takes three times as long on a CPU as these plain products over
    contiguous keys.
    """
    scores = (queries * queries.size(-1) ** -0.5) @ keys.transpose(-1, -2)  # (B, H, T, S)
    if mask is None or mask.dtype != torch.bool:
        attn_output: Tensor = (scores if mask is None else scores + mask).softmax(-1) @ values
        return attn_output
    attn_output = scores.masked_fill(~mask, lowest(scores)).softmax(-1) @ values
    blind = sees_nothing(mask)
    return attn_output if blind is None else attn_output.masked_fill(blind, 0)
