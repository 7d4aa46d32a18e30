"""Multi-head attention (Vaswani et al. 2017, section 3.2.2), for self- and cross-attention.

Shapes: B sequences (in the decoder: B sentences times K beams), T queries, S keys, D model, H heads, Dh = D / H.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def project_keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the attended states: (B, S, D) -> two of (B, H, S, Dh)."""
        return self._split_heads(self.k_proj(states)), self._split_heads(self.v_proj(states))

    def forward(
        self, states: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Attend from ``states`` to ``keys`` and ``values``.

        Args:
            states: (B, T, D), what the queries are made of.
            keys, values: (B, H, S, Dh), as ``project_keys_values`` gives them.
            mask: bool, broadcastable to (B, H, T, S); True where a query may look. None: everywhere.
            is_causal: query t sees keys up to t alone; needs T = S and no mask.

        Returns:
            (B, T, D)
        """
        queries = self._split_heads(self.q_proj(states))  # (B, H, T, Dh)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, dropout, is_causal)  # (B, H, T, Dh)
        merged: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))  # (B, T, D)
        return merged

    def _split_heads(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:-1], self.heads, -1).transpose(1, 2)  # (B, T, D) -> (B, H, T, Dh)


def padding_mask(attention_mask: Tensor | None) -> Tensor | None:
    """The mask that hides padded keys: (B, S) of 0 and 1 -> bool (B, 1, 1, S); None stays None."""
    return None if attention_mask is None else attention_mask.to(torch.bool)[:, None, None, :]
