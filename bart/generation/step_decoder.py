"""The model as a search sees it: tokens in, the next token's logits out."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from bart.generation.recorded import Recorded
from bart.modeling.attention import padding_mask
from bart.modeling.kv_cache import Step
from bart.modeling.modeling_bart import BartForConditionalGeneration

_WITH_FIXED_SHAPES = {"cuda"}  # devices on which steps are recorded
_WINDOW = 32  # tokens for which the shapes of a step stay the same, there


class StepDecoder:
    """Encodes the sources once, then decodes ``beams`` rows for each of them, a token at a time.

    On a GPU a step's hundreds of kernels take longer to start than to run, so they are recorded as one graph for each
    number of sentences and window of output length.
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
        mask = None if bool(attention_mask.all()) else attention_mask
        encoder_states = model.model.encoder(input_ids, mask)
        self._mask = None if mask is None else padding_mask(mask.clone())
        self._cache = model.model.decoder.new_cache(encoder_states, beams, max_length - 1, model.cache_dtype)
        self._recorded: dict[tuple[int, int], Recorded] = {}  # by rows and places
        self._records = input_ids.device.type in _WITH_FIXED_SHAPES and not model.training
        if self._records:
            self._cache.keep_shapes(_WINDOW)

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V).

        The next call may write over them.
        """
        states = self._model.model.decoder.embed(tokens[:, None], self._cache.length)  # (R, 1, D)
        step = self._cache.advance(1)
        if not self._records:
            return self._logits(states, step)
        shape = (len(tokens), step.end)
        if shape not in self._recorded:
            try:
                self._recorded[shape] = Recorded(lambda given: self._logits(given, step), states)
            except RuntimeError as error:
                warnings.warn(f"searching without CUDA graphs: {str(error).splitlines()[0]}", stacklevel=2)
                self._records = False
                return self._logits(states, step)
        return self._recorded[shape](states)

    def _logits(self, states: Tensor, step: Step) -> Tensor:
        decoded = self._model.model.decoder.decode_next(states, self._mask, self._cache, step)  # (R, 1, D)
        return self._model.project_to_vocabulary(decoded[:, -1]).to(torch.float32)

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        self._cache.reorder(rows)

    def select(self, of: Callable[[Tensor], Tensor]) -> None:
        """Let sentences leave: keep of every tensor (B, ...) what ``of`` gives."""
        self._cache.select(of)
        if self._mask is not None:
            self._mask = of(self._mask)
