"""The decoder of a search: with a cache, and on a GPU with CUDA graphs.

Shapes: B sentences, R = B * beams rows (a sentence's beams are neighbours), S source length, D model, V vocabulary.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from bart.generation.cuda_graphs import CudaGraphCache, GraphedDecoder, graphed_decoder
from bart.generation.model import SearchableModel, next_logits
from bart.generation.sources import Sources
from bart.modeling.layers.attention import padding_mask
from bart.out_of_memory import is_out_of_memory

_WITH_GRAPHS = {"cuda"}  # devices on which steps are captured


class StepDecoder:
    """Encodes the sources once, then decodes ``beams`` rows for each of them, one token at a time."""

    def __init__(
        self,
        model: SearchableModel,
        sources: Sources,
        beams: int,
        max_length: int,
        graphs: CudaGraphCache | None = None,
    ) -> None:
        """Encode the sources.

        Args:
            model: the model to decode with.
            sources: B sources.
            beams: rows for each source.
            max_length: longest output, including the start token.
            graphs: keeps CUDA graphs for later searches; None: this search alone uses its graphs.
        """
        self._model = model
        self._graphed: GraphedDecoder | None = None
        device, length = sources.device.type, max_length - 1
        mask = sources.mask
        # Autocast frees its casts of the weights when it ends; later searches cannot replay graphs that read them.
        if graphs is None or torch.is_autocast_enabled(device):
            graphs = CudaGraphCache()
        self._graphs = graphs
        if device in _WITH_GRAPHS and graphs.may_capture and not model.training:
            self._graphed = graphed_decoder(model, sources, beams, length, graphs)
            self._cache, self._mask = self._graphed.cache, self._graphed.mask
        else:
            encoder_states = sources.encode(model)
            self._cache = model.get_decoder().new_cache(encoder_states, beams, length)
            self._mask = None if mask is None else padding_mask(mask.clone())

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V).

        The next call may overwrite them.
        """
        states = self._model.get_decoder().embed(tokens[:, None], self._cache.length)  # (R, 1, D)
        step = self._cache.advance(1)
        if self._graphed is not None:
            try:
                return self._graphed.logits(states, self._mask, step)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                warnings.warn(f"searching without CUDA graphs: {str(error).splitlines()[0]}", stacklevel=2)
                self._graphed, self._graphs.may_capture = None, False
                self._graphs.clear()
        return next_logits(self._model, self._cache, self._mask, step, states)

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        self._cache.reorder(rows)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        self._cache.keep_rows(gather)
        if self._mask is not None:
            self._mask = gather(self._mask)
