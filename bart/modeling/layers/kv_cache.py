"""The keys and values that decoding step by step need not compute again.

Cross-attention keeps one set for every sentence: its beams all look at the same source, so they attend together, as K
queries of one sentence (as in Yan et al. 2021, https://arxiv.org/abs/2105.04779), and that part neither grows with the
beams nor has to follow their reordering.

Self-attention does not follow it either. The tokens of all beams of a sentence stand in one row of cache positions, in
the order in which they were decoded, and every beam sees those of them that it descends from: when beams are reordered,
only this mask of ancestors changes.

Shapes: B sentences, K beams, S source length, L longest output, P = L * K cache positions, H heads, Dh head size.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_HIDDEN = float("-inf")


class LayerCache:
    """Keys and values of one decoder layer."""

    def __init__(self, cross_keys: Tensor, cross_values: Tensor, beams: int, max_length: int) -> None:
        """Take the cross-attention's (B, H, S, Dh); make room for ``beams`` sequences of ``max_length`` tokens each.

        What is appended takes the type of these.
        """
        self.cross_keys = cross_keys
        self.cross_values = cross_values
        sentences, heads, _, head_size = cross_keys.shape
        # Zeros, since a hidden position takes part with weight 0, and 0 times what memory held could be NaN.
        self.self_keys = cross_keys.new_zeros(sentences, heads, beams * max_length, head_size)
        self.self_values = torch.zeros_like(self.self_keys)
        # Those of the whole batch: when sentences leave, the tensors above become views of these.
        self._whole_batch = (self.cross_keys, self.cross_values, self.self_keys, self.self_values)

    def reset(self, cross_keys: Tensor, cross_values: Tensor) -> None:
        """Take the keys and values of other sources, of the same shape, in the same memory."""
        self.cross_keys, self.cross_values, self.self_keys, self.self_values = self._whole_batch
        self.cross_keys.copy_(cross_keys)
        self.cross_values.copy_(cross_values)
        self.self_keys.zero_()  # as at first
        self.self_values.zero_()

    def append(
        self, keys: Tensor, values: Tensor, cache_positions: Tensor, cache_length: int
    ) -> tuple[Tensor, Tensor]:
        """Keep new tokens' keys and values (B, H, n, Dh) at ``cache_positions`` (n,).

        Returns the keys and values of the first ``cache_length`` positions.
        """
        self.self_keys.index_copy_(2, cache_positions, keys.to(self.self_keys.dtype))
        self.self_values.index_copy_(2, cache_positions, values.to(self.self_values.dtype))
        return self.self_keys[:, :, :cache_length], self.self_values[:, :, :cache_length]

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Drop the sentences that leave: keep of each tensor (B, ...) the rows that ``gather`` gives."""
        for name in ("cross_keys", "cross_values", "self_keys", "self_values"):
            setattr(self, name, gather(getattr(self, name)))

    def bytes(self) -> tuple[int, int]:
        """Bytes of the self-attention's part and of the cross-attention's: 2 B H P Dh and 2 B H S Dh numbers."""
        return 2 * self.self_keys.nbytes, 2 * self.cross_keys.nbytes


@dataclass
class DecodeStep:
    """What a decoder layer needs to know of the tokens that are decoded now, n of each sentence."""

    cache_positions: Tensor  # (n,) where they are kept
    cache_length: int  # so many positions are looked at, the first ones
    # (B, 1, n, cache_length), added to the scores: 0 for what each token may look at, else -inf; None: everything
    attention_bias: Tensor | None


class DecoderCache:
    """A ``LayerCache`` for every decoder layer, and which tokens each beam descends from."""

    def __init__(self, layers: list[LayerCache], beams: int, max_length: int) -> None:
        self.layers = layers
        self.beams = beams
        self.length = 0  # tokens decoded in each beam
        self._max_length = max_length
        self._window = 0
        keys = layers[0].self_keys
        # A beam's own positions are opened when it is there.
        self._ancestors = keys.new_full((keys.size(0), 1, beams, beams * max_length), _HIDDEN)
        self._whole_batch_ancestors = self._ancestors
        self._cache_positions = torch.arange(-beams, 0, device=keys.device)

    def reset(self, sources: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Begin anew with each layer's cross-attention keys and values of other sources, in the same memory."""
        for layer, (keys, values) in zip(self.layers, sources, strict=True):
            layer.reset(keys, values)
        self.length = 0
        self._ancestors = self._whole_batch_ancestors.fill_(_HIDDEN)
        self._cache_positions.copy_(torch.arange(-self.beams, 0))

    def keep_shapes(self, window: int) -> None:
        """Look at positions in whole windows of so many tokens, so that steps of one window have tensors of one shape.

        All that such steps read and write stays where it is in memory, too. To be called before the first step.
        """
        self._window = window

    def advance(self, tokens: int) -> DecodeStep:
        """Make room for the next ``tokens`` of every beam. Several at once can be had without beams alone."""
        start = self.length * self.beams
        self.length += tokens
        cache_length = self.length * self.beams
        if tokens > 1:
            assert self.beams == 1 and not self._window, "beams are decoded token by token"
            positions = torch.arange(start, cache_length, device=self._ancestors.device)
            self._cache_positions += tokens
            ahead = torch.ones(tokens, cache_length, dtype=torch.bool, device=positions.device).triu(start + 1)
            bias = self._ancestors.new_zeros(1, 1, tokens, cache_length).masked_fill(ahead, _HIDDEN)
            return DecodeStep(positions, cache_length, bias)
        self._cache_positions += self.beams
        if self.beams == 1 and not self._window:
            return DecodeStep(self._cache_positions, cache_length, None)
        # Beam k sees what is at the k-th of the new positions: itself.
        self._ancestors[:, 0].diagonal(start, 1, 2).zero_()
        if self._window:
            cache_length = min(-(-self.length // self._window) * self._window, self._max_length) * self.beams
        return DecodeStep(self._cache_positions, cache_length, self._ancestors[..., :cache_length])

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue the sequence that was decoded in row ``rows[i]``, of the same sentence; rows: (B*K,)."""
        if self.beams > 1:
            parents = (rows % self.beams).view(-1, 1, self.beams, 1)
            self._ancestors.copy_(self._ancestors.gather(2, parents.expand_as(self._ancestors)))

    def bytes(self) -> tuple[int, int]:
        """Bytes of the self-attention's part and of the cross-attention's, of all layers."""
        self_bytes, cross_bytes = zip(*(layer.bytes() for layer in self.layers), strict=True)
        return sum(self_bytes), sum(cross_bytes)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Drop the sentences that leave: keep of each tensor (B, ...) the rows that ``gather`` gives."""
        for layer in self.layers:
            layer.keep_rows(gather)
        self._ancestors = gather(self._ancestors)
