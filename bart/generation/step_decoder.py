"""The decoder of a search: with a cache, and on a GPU with CUDA graphs.

Shapes: B sentences, R = B * beams rows (a sentence's beams are neighbours), S source length, D model, V vocabulary.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from bart.generation.cuda_graphs import CudaGraphCache, GraphedDecoder, graphed_decoder
from bart.generation.model import SearchableModel, next_logits
from bart.generation.sources import Sources
from bart.generation.static_decoder import StaticDecoder
from bart.generation.static_search import StaticSearch
from bart.modeling.layers.attention import padding_mask

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
        self._model, self._longest = model, max_length - 1
        self._graphed: GraphedDecoder | None = None
        device = sources.device.type
        # Autocast frees its casts of the weights when it ends; later searches cannot replay graphs that read them.
        if graphs is None or torch.is_autocast_enabled(device):
            graphs = CudaGraphCache()
        self._graphs = graphs
        if device in _WITH_GRAPHS and graphs.may_capture and not model.training:
            self._graphed = graphed_decoder(model, sources, beams, self._longest, graphs)
        else:
            encoder_states = sources.encode(model)
            self._cache = model.get_decoder().new_cache(encoder_states, beams, self._longest)
            self._mask = None if sources.mask is None else padding_mask(sources.mask.clone())

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V).

        The next call may overwrite them.
        """
        if self._graphed is not None:
            return self._graphed.next_logits(tokens, self._longest, self._graphs)
        states = self._model.get_decoder().embed(tokens[:, None], self._cache.length)  # (R, 1, D)
        return next_logits(self._model, self._cache, self._mask, self._cache.advance(1), states)

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        (self._cache if self._graphed is None else self._graphed.static).reorder(rows)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""
        if self._graphed is not None:
            self._graphed.static.keep_rows(gather)
            return
        self._cache.keep_rows(gather)
        if self._mask is not None:
            self._mask = gather(self._mask)

    @property
    def captures(self) -> bool:
        """Whether steps are captured as CUDA graphs, and then replayed."""
        return self._graphed is not None

    def search(self, settings: str, new_search: Callable[[StaticDecoder], StaticSearch]) -> StaticSearch:
        """Return the search with these settings, whose steps are captured whole; ``new_search`` makes it if needed."""
        assert self._graphed is not None
        return self._graphed.search(settings, new_search)

    def search_step(self, settings: str) -> None:
        """Take the next step of the search with these settings."""
        assert self._graphed is not None
        self._graphed.step(settings, self._longest, self._graphs)
