"""The keys and values that decoding step by step need not compute again.

Self-attention keeps one set for every beam. Cross-attention keeps one for every sentence: its beams all look at the
same source, so they attend together, as K queries of one sentence (as in Yan et al. 2021,
https://arxiv.org/abs/2105.04779), and that part neither grows with the beams nor has to follow their reordering.

Shapes: B sentences, K beams, S source length, L longest output, H heads, Dh head size.
"""

import torch
from torch import Tensor


class LayerCache:
    """Keys and values of one decoder layer."""

    def __init__(self, cross_keys: Tensor, cross_values: Tensor, rows: int, max_length: int) -> None:
        """Take the cross-attention's (B, H, S, Dh); make room for ``rows`` = B*K sequences of ``max_length`` tokens."""
        self.cross_keys = cross_keys
        self.cross_values = cross_values
        _, heads, _, head_size = cross_keys.shape
        self._self_keys = cross_keys.new_empty(rows, heads, max_length, head_size)
        self._self_values = torch.empty_like(self._self_keys)
        self.length = 0  # tokens kept

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the next tokens' (B*K, H, T, Dh) and return those of all tokens so far, (B*K, H, length, Dh)."""
        end = self.length + keys.size(2)
        self._self_keys[:, :, self.length : end] = keys
        self._self_values[:, :, self.length : end] = values
        self.length = end
        return self._self_keys[:, :, :end], self._self_values[:, :, :end]

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue the sequence that was kept in row ``rows[i]``, of the same sentence; rows: (B*K,)."""
        self._self_keys[:, :, : self.length] = self._self_keys[:, :, : self.length].index_select(0, rows)
        self._self_values[:, :, : self.length] = self._self_values[:, :, : self.length].index_select(0, rows)


class DecoderCache:
    """One ``LayerCache`` for every decoder layer, all of the same length."""

    def __init__(self, layers: list[LayerCache]) -> None:
        self.layers = layers

    @property
    def length(self) -> int:
        """How many tokens have been decoded."""
        return self.layers[0].length

    def reorder(self, rows: Tensor) -> None:
        """Let every row continue another row's sequence; see ``LayerCache.reorder``."""
        for layer in self.layers:
            layer.reorder(rows)
