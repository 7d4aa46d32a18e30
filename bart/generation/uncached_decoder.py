"""Decoding without a cache: every step decodes the full output again. It is slow, and a reference for the cache.

Shapes: B sentences, R rows (a multiple of B), L tokens so far, S source length, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bart.generation.model import SearchableModel
from bart.generation.sources import Sources


class UncachedDecoder:
    """Encodes the sources once, then decodes ``beams`` rows for each of them, one token at a time."""

    def __init__(self, model: SearchableModel, sources: Sources, beams: int) -> None:
        self._model, self._beams = model, beams
        self._states, self._mask = sources.encode(model), sources.mask
        self._read = torch.empty(sources.shape[0] * beams, 0, dtype=torch.long, device=sources.device)  # (R, L)

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V)."""
        self._read = torch.cat([self._read, tokens[:, None]], 1)
        states = self._states.repeat_interleave(self._beams, dim=0)
        mask = None if self._mask is None else self._mask.repeat_interleave(self._beams, dim=0)
        decoded = self._model.get_decoder()(self._read, states, mask)
        return self._model.project_to_vocabulary(decoded[:, -1]).to(torch.float32)

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        self._read = self._read[rows]

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        self._states = gather(self._states.clone())
        self._mask = None if self._mask is None else gather(self._mask.clone())
        self._read = gather(self._read.view(-1, self._beams, self._read.size(1)).clone()).flatten(0, 1)
