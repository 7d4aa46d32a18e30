"""The model as a search sees it: tokens in, the next token's logits out."""

from collections.abc import Callable

import torch
from torch import Tensor

from bart.modeling.modeling_bart import BartForConditionalGeneration


class StepDecoder:
    """Encodes the sources once, then decodes ``beams`` rows for each of them, a token at a time.

    Shapes: B sentences, R = B * beams rows (a sentence's beams are neighbours), S source length, V vocabulary.
    """

    def __init__(
        self,
        model: BartForConditionalGeneration,
        input_ids: Tensor,
        attention_mask: Tensor,
        beams: int,
        max_length: int,
    ) -> None:
        """input_ids, attention_mask: (B, S); max_length: of the outputs, the start token included."""
        self._model = model
        self._mask = None if bool(attention_mask.all()) else attention_mask.clone()
        encoder_states = model.model.encoder(input_ids, self._mask)
        self._cache = model.model.decoder.new_cache(encoder_states, beams, max_length - 1, model.cache_dtype)

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V)."""
        states = self._model.model.decoder(tokens[:, None], None, self._mask, self._cache)  # (R, 1, D)
        return self._model.project_to_vocabulary(states[:, -1]).to(torch.float32)

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        self._cache.reorder(rows)

    def select(self, of: Callable[[Tensor], Tensor]) -> None:
        """Let sentences leave: keep of every tensor (B, ...) what ``of`` gives."""
        self._cache.select(of)
        if self._mask is not None:
            self._mask = of(self._mask)
