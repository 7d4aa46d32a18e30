"""A decoder all of whose tensors stay at their addresses, so that CUDA graphs can repeat its steps.

Shapes: B sentences, R = B * beams rows, S source length, D model, V vocabulary.
"""

from collections.abc import Callable

from torch import Tensor

from bart.generation.model import SearchableModel
from bart.modeling.layers.kv_cache import DecoderCache


class StaticDecoder:
    """A model's decoder, its cache, and the mask of the sources. The number of tokens read is known to tensors only."""

    def __init__(self, model: SearchableModel, cache: DecoderCache, mask: Tensor | None) -> None:
        """Take an empty cache and the mask of its sources: bool (B, 1, 1, S), or None."""
        self._model, self._cache = model, cache
        self.beams = cache.beams
        self._mask = self._full_mask = mask

    @property
    def sentences(self) -> int:
        """The number of sentences that are left."""
        return len(self._cache.layers[0].cross_keys)

    @property
    def ancestors(self) -> Tensor:
        """What ``reorder`` changes: (B, 1, K, P), as ``DecoderCache`` has it."""
        return self._cache.ancestors

    def reset(self, encoder_states: Tensor, mask: Tensor | None) -> None:
        """Start over with other sources: states (B, S, D), mask bool (B, 1, 1, S) or None, as there was one before."""
        self._model.get_decoder().reset_cache(self._cache, encoder_states)
        self._mask = self._full_mask
        if self._mask is not None and mask is not None:
            self._mask.copy_(mask)

    def next_logits(self, tokens: Tensor, cache_length: int) -> Tensor:
        """Read the newest tokens (R,), and return the logits of the ones after them: (R, V), in the weights' type.

        Args:
            tokens: (R,).
            cache_length: number of the cache's positions that are attended to.
        """
        decoder = self._model.get_decoder()
        position, step = self._cache.advance_in_place(cache_length)
        states = decoder.decode_next(decoder.embed(tokens[:, None], position), self._mask, self._cache, step)
        return self._model.project_to_vocabulary(states[:, -1])

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        self._cache.reorder(rows)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        self._cache.keep_rows(gather)
        if self._mask is not None:
            self._mask = gather(self._mask)
