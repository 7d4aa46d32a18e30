"""The cache of keys and values, so that a decoding step computes only those of its own tokens.

Cross-attention has one set of keys and values per sentence. All beams of a sentence see the same source, so they attend
together, as K queries of one sentence (as in Yan et al. 2021, https://arxiv.org/abs/2105.04779). This part neither
grows with the number of beams nor changes when beams are reordered.

Self-attention has one row of cache positions per sentence, for the tokens of all its beams in the order in which they
are decoded. Each beam sees only the tokens that it descends from. When beams are reordered, only this mask of ancestors
changes.

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
        """Make an empty cache of self-attention, beside the keys and values of cross-attention.

        Args:
            cross_keys: (B, H, S, Dh); keys that are appended are cast to their type.
            cross_values: (B, H, S, Dh), likewise.
            beams: sequences of each sentence.
            max_length: tokens of each sequence.
        """
        self.cross_keys = cross_keys
        self.cross_values = cross_values
        sentences, heads, _, head_size = cross_keys.shape
        # Zeros, since hidden positions have weight 0, and 0 times uninitialized memory could be NaN.
        self.self_keys = cross_keys.new_zeros(sentences, heads, beams * max_length, head_size)
        self.self_values = torch.zeros_like(self.self_keys)
        # When sentences leave the batch, the tensors above become views of these.
        self._full_batch = (self.cross_keys, self.cross_values, self.self_keys, self.self_values)

    def reset(self, cross_keys: Tensor, cross_values: Tensor) -> None:
        """Start over with other sources of the same shape: cross-attention's (B, H, S, Dh), in the same memory."""
        self.cross_keys, self.cross_values, self.self_keys, self.self_values = self._full_batch
        self.cross_keys.copy_(cross_keys)
        self.cross_values.copy_(cross_values)
        self.self_keys.zero_()
        self.self_values.zero_()

    def append(
        self, keys: Tensor, values: Tensor, cache_positions: Tensor, cache_length: int
    ) -> tuple[Tensor, Tensor]:
        """Store the keys and values of new tokens.

        Args:
            keys: (B, H, n, Dh).
            values: (B, H, n, Dh).
            cache_positions: (n,), the positions to store them at.
            cache_length: number of positions to return.

        Returns:
            keys and values of the first ``cache_length`` positions, each (B, H, cache_length, Dh)
        """
        self.self_keys.index_copy_(2, cache_positions, keys.to(self.self_keys.dtype))
        self.self_values.index_copy_(2, cache_positions, values.to(self.self_values.dtype))
        return self.self_keys[:, :, :cache_length], self.self_values[:, :, :cache_length]

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        for name in ("cross_keys", "cross_values", "self_keys", "self_values"):
            setattr(self, name, gather(getattr(self, name)))

    def bytes(self) -> tuple[int, int]:
        """Return the bytes of self-attention's part (2 B H P Dh numbers) and of cross-attention's (2 B H S Dh)."""
        return 2 * self.self_keys.nbytes, 2 * self.cross_keys.nbytes


@dataclass
class DecodeStep:
    """Describes to the decoder layers the n tokens of each sentence that are decoded in one step."""

    cache_positions: Tensor  # (n,), the positions that store them
    cache_length: int  # number of positions that are attended to, from the first one on
    # (B or 1, 1, n, cache_length), added to the scores: 0 if a token may see a position, else -inf; None: all are seen
    attention_bias: Tensor | None


class DecoderCache:
    """A ``LayerCache`` for every decoder layer, and the mask of the tokens that each beam descends from."""

    def __init__(self, layers: list[LayerCache], beams: int, max_length: int) -> None:
        """Make an empty cache of one entry per layer, for ``beams`` sequences of up to ``max_length`` tokens."""
        self.layers = layers
        self.beams = beams
        self.length = 0  # tokens decoded in each beam
        keys = layers[0].self_keys
        # The positions that each beam sees, added to its scores, 0 or -inf: (B, 1, K, P). Its own one becomes visible
        # in the step that fills it.
        self.ancestors = keys.new_full((keys.size(0), 1, beams, beams * max_length), _HIDDEN)
        self._full_batch_ancestors = self.ancestors
        self._cache_positions = torch.arange(-beams, 0, device=keys.device)

    def reset(self, sources: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Start over in the same memory, with each layer's cross-attention keys and values (B, H, S, Dh)."""
        for layer, (keys, values) in zip(self.layers, sources, strict=True):
            layer.reset(keys, values)
        self.length = 0
        self.ancestors = self._full_batch_ancestors.fill_(_HIDDEN)
        self._cache_positions.copy_(torch.arange(-self.beams, 0))

    def advance(self, tokens: int) -> DecodeStep:
        """Reserve positions for the next ``tokens`` tokens of each beam; several only for one beam."""
        start = self.length * self.beams
        self.length += tokens
        cache_length = self.length * self.beams

        # Several tokens of the only beam: each sees those before it, and itself.
        if tokens > 1:
            assert self.beams == 1, "beams are decoded token by token"
            positions = torch.arange(start, cache_length, device=self.ancestors.device)
            self._cache_positions += tokens
            ahead = torch.ones(tokens, cache_length, dtype=torch.bool, device=positions.device).triu(start + 1)
            bias = self.ancestors.new_zeros(1, 1, tokens, cache_length).masked_fill(ahead, _HIDDEN)
            return DecodeStep(positions, cache_length, bias)

        # One token of every beam: each sees the tokens that it descends from, and itself.
        self._cache_positions += self.beams
        if self.beams == 1:
            return DecodeStep(self._cache_positions, cache_length, None)
        self.ancestors[:, 0].diagonal(start, 1, 2).zero_()  # beam k sees itself, at the k-th of the new positions
        return DecodeStep(self._cache_positions, cache_length, self.ancestors[..., :cache_length])

    def advance_in_place(self, cache_length: int) -> tuple[Tensor, DecodeStep]:
        """Reserve positions for the next token of each beam, by operations that a CUDA graph can repeat.

        Nothing of this is known to ``length`` and ``advance``.

        Args:
            cache_length: number of positions that are attended to, whether they are filled or not.

        Returns:
            the number of tokens before the new one, (1,), and the step
        """
        self._cache_positions += self.beams
        own = self._cache_positions.view(1, -1, 1).expand(len(self.ancestors), -1, -1)
        self.ancestors[:, 0].scatter_(2, own, 0.0)  # each beam sees itself
        step = DecodeStep(self._cache_positions, cache_length, self.ancestors[..., :cache_length])
        return self._cache_positions[:1] // self.beams, step

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue the sequence of row ``rows[i]``, which is of the same sentence; rows: (B * K,)."""
        if self.beams > 1:
            parents = (rows % self.beams).view(-1, 1, self.beams, 1)
            self.ancestors.copy_(self.ancestors.gather(2, parents.expand_as(self.ancestors)))

    def bytes(self) -> tuple[int, int]:
        """Return the bytes of self-attention's part and of cross-attention's, summed over all layers."""
        self_bytes, cross_bytes = zip(*(layer.bytes() for layer in self.layers), strict=True)
        return sum(self_bytes), sum(cross_bytes)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        for layer in self.layers:
            layer.keep_rows(gather)
        self.ancestors = gather(self.ancestors)
