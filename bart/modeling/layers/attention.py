"""Multi-head attention (Vaswani et al. 2017, section 3.2.2), for self- and cross-attention.

Shapes: B sequences (in the decoder: B sentences times K beams), T queries, S keys, D model, H heads, Dh = D / H;
N tokens of all sequences without padding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bart.modeling.layers.blocked_attention import blocked_attention, lowest, sees_nothing
from bart.modeling.layers.unpadding import Unpadding

_FEW = 16  # queries of a sentence


class MultiHeadAttention(nn.Module):
    """Projections to queries, keys and values, scaled dot-product attention, and the output projection."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.k_proj = nn.Linear(d_model, d_model)
        self.v_proj = nn.Linear(d_model, d_model)
        self.q_proj = nn.Linear(d_model, d_model)
        self.out_proj = nn.Linear(d_model, d_model)
        self.computes_in: torch.dtype | None = None  # attention, of keys and values; None: the projections' type

    def project_keys_values(self, states: Tensor, unpadding: Unpadding | None = None) -> tuple[Tensor, Tensor]:
        """Keys and values of the attended states: (B, S, D), or (N, D) by ``unpadding`` -> two of (B, H, S, Dh)."""
        states = cast_once(states)
        keys, values = self.k_proj(states), self.v_proj(states)
        if self.computes_in is not None:
            keys, values = keys.to(self.computes_in), values.to(self.computes_in)
        return self._split_heads(keys, unpadding), self._split_heads(values, unpadding)

    def forward(
        self,
        states: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        is_causal: bool = False,
        unpadding: Unpadding | None = None,
    ) -> Tensor:
        """Attend from ``states`` to ``keys`` and ``values``.

        Args:
            states: (B, T, D), or (N, D) by ``unpadding``: what the queries are made of.
            keys, values: (B, H, S, Dh), as ``project_keys_values`` gives them; in their type attention is computed.
            mask: bool, broadcastable to (B, H, T, S); True where a query may look. None: everywhere. A query that may
                look nowhere gets zeros.
            is_causal: query t sees keys up to t alone; needs T = S and no mask.

        Returns:
            of the shape of ``states``
        """
        queries = self._split_heads(self.q_proj(states), unpadding).to(keys.dtype)  # (B, H, T, Dh)
        if not is_causal and _few_on_cpu(queries):
            mixed = _attend_plainly(queries, keys, values, mask)
        else:
            dropout = self.dropout if self.training else 0.0
            mixed = _attend(queries, keys, values, mask, dropout, is_causal)  # (B, H, T, Dh)
        merged = mixed.transpose(1, 2).flatten(2).to(states.dtype)  # (B, T, D)
        output: Tensor = self.out_proj(merged if unpadding is None else unpadding.unpad(merged))
        return output

    def _split_heads(self, states: Tensor, unpadding: Unpadding | None) -> Tensor:
        if unpadding is not None:
            states = unpadding.pad(states)
        return states.view(*states.shape[:-1], self.heads, -1).transpose(1, 2)  # (B, T, D) -> (B, H, T, Dh)


def _attend(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, is_causal: bool
) -> Tensor:
    """(B, H, T, Dh), by our own kernel where torch's is slow: on a CPU, in bfloat16 and for dropout."""
    hides_keys_alone = mask is None or (mask.dtype == torch.bool and mask.size(-2) == 1)  # from all queries alike
    if queries.device.type == "cpu" and hides_keys_alone and (dropout > 0 or queries.dtype == torch.bfloat16):
        mixed: Tensor = blocked_attention(queries, keys, values, mask, dropout, is_causal)
        return mixed
    return F.scaled_dot_product_attention(queries, keys, values, mask, dropout, is_causal)


def cast_once(states: Tensor) -> Tensor:
    """Under autocast, in its type: what several projections read is then cast, and kept for their gradients, once."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def padding_mask(attention_mask: Tensor | None) -> Tensor | None:
    """The mask that hides padded keys: (B, S) of 0 and 1 -> bool (B, 1, 1, S); None stays None."""
    return None if attention_mask is None else attention_mask.to(torch.bool)[:, None, None, :]


def _few_on_cpu(queries: Tensor) -> bool:
    """Whether these are a decoding step's few queries in bfloat16 on a CPU.

    Torch's fused attention takes three times as long there as the plain products over keys that lie one after another.
    """
    is_decoding = queries.size(2) <= _FEW and not torch.is_grad_enabled()
    return is_decoding and queries.dtype == torch.bfloat16 and queries.device.type == "cpu"


def _attend_plainly(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(Q K^T / sqrt(Dh)) V of (B, H, T, Dh) and (B, H, S, Dh) -> (B, H, T, Dh)."""
    scores = (queries * queries.size(-1) ** -0.5) @ keys.transpose(-1, -2)  # (B, H, T, S)
    if mask is None or mask.dtype != torch.bool:
        mixed: Tensor = (scores if mask is None else scores + mask).softmax(-1) @ values
        return mixed
    mixed = scores.masked_fill(~mask, lowest(scores)).softmax(-1) @ values
    blind = sees_nothing(mask)
    return mixed if blind is None else mixed.masked_fill(blind, 0)
