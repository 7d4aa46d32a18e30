"""The model as a search sees it: tokens in, the next token's logits out.

Shapes: B sentences, R = B * beams rows (a sentence's beams are neighbours), S source length, D model, V vocabulary.
"""

import warnings
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.generation.cuda_graphs import Recorder
from bart.generation.sources import Sources
from bart.modeling.layers.attention import padding_mask
from bart.modeling.layers.kv_cache import DecoderCache, DecodeStep
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.out_of_memory import is_out_of_memory

_WITH_FIXED_SHAPES = {"cuda"}  # devices on which steps are recorded
_WINDOW = 32  # tokens of an output for which the shapes of a step stay the same, there
_SOURCE_WINDOW = 64  # tokens of a source, likewise


class RecordedSteps:
    """Steps of one shape, recorded, and the tensors that they read and write, which stay where they are."""

    def __init__(self, model: BartForConditionalGeneration, cache: DecoderCache, mask: Tensor | None) -> None:
        """mask: bool (B, 1, 1, S), or None."""
        self.cache, self.mask = cache, mask
        cache.keep_shapes(_WINDOW)
        self._model = model
        sentences, device = len(cache.layers[0].cross_keys), cache.layers[0].cross_keys.device
        self._logits = torch.empty(sentences * cache.beams, model.config.vocab_size, dtype=torch.float32, device=device)
        self._recorder = Recorder(device)
        self._recorded: dict[tuple[int, int], Callable[[Tensor], None]] = {}  # by rows and places

    def reset(self, encoder_states: Tensor, mask: Tensor | None) -> None:
        """Begin anew with other sources."""
        self._model.model.decoder.reset_cache(self.cache, encoder_states)
        if self.mask is not None and mask is not None:
            self.mask.copy_(mask)

    def logits(self, states: Tensor, mask: Tensor | None, step: DecodeStep) -> Tensor:
        """What ``decode`` gives. Raises RuntimeError where the device cannot record it."""
        rows = len(states)
        if (rows, step.cache_length) not in self._recorded:
            write = partial(self._write_logits, self._model, self.cache, mask, step, self._logits[:rows])
            self._recorded[rows, step.cache_length] = self._recorder.record(write, states)
        self._recorded[rows, step.cache_length](states)
        return self._logits[:rows]

    @staticmethod  # what refers to itself is freed late
    def _write_logits(
        model: BartForConditionalGeneration,
        cache: DecoderCache,
        mask: Tensor | None,
        step: DecodeStep,
        logits: Tensor,
        states: Tensor,
    ) -> None:
        logits.copy_(decode(model, cache, mask, step, states))


class StepMemory:
    """Recorded steps, kept for the next search of the same shape: for searches that follow each other.

    Recording a step takes as long as several steps do. The model and where its weights lie must not change meanwhile.
    """

    def __init__(self) -> None:
        self.may_record = True  # until it has failed
        self._shape: object = None
        self._steps: RecordedSteps | None = None

    @property
    def is_filled(self) -> bool:
        """Whether there are steps in it."""
        return self._steps is not None

    def get(self, shape: object) -> RecordedSteps | None:
        """The steps of that shape; None where there are none. Those of another shape are given up."""
        if self._shape != shape:
            self.clear()
        return self._steps

    def put(self, shape: object, steps: RecordedSteps) -> RecordedSteps:
        """Keep them."""
        self._shape, self._steps = shape, steps
        return steps

    def clear(self) -> None:
        """Give the memory back."""
        self._shape = self._steps = None


class StepDecoder:
    """Encodes the sources once, then decodes ``beams`` rows for each of them, a token at a time.

    On a GPU a step's hundreds of kernels take longer to start than to run, so they are recorded as one graph for each
    number of sentences and window of output length.
    """

    def __init__(
        self,
        model: BartForConditionalGeneration,
        sources: Sources,
        beams: int,
        max_length: int,
        memory: StepMemory | None = None,
    ) -> None:
        """max_length: of the outputs, the start token included."""
        self._model = model
        self._steps: RecordedSteps | None = None
        device, length = sources.device.type, max_length - 1
        mask = sources.mask
        if memory is None or torch.is_autocast_enabled(device):  # its half copies of the weights do not outlive it
            memory = StepMemory()
        self._memory = memory
        if device in _WITH_FIXED_SHAPES and memory.may_record and not model.training:
            self._steps = _recorded_steps(model, sources, beams, length, memory)
            self._cache, self._mask = self._steps.cache, self._steps.mask
        else:
            encoder_states = sources.encode(model)
            self._cache = model.model.decoder.new_cache(encoder_states, beams, length)
            self._mask = None if mask is None else padding_mask(mask.clone())

    def next_logits(self, tokens: Tensor) -> Tensor:
        """Read the newest tokens (R,) and return the logits of the ones after them, float32 (R, V).

        The next call may write over them.
        """
        states = self._model.model.decoder.embed(tokens[:, None], self._cache.length)  # (R, 1, D)
        step = self._cache.advance(1)
        if self._steps is not None:
            try:
                return self._steps.logits(states, self._mask, step)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                warnings.warn(f"searching without CUDA graphs: {str(error).splitlines()[0]}", stacklevel=2)
                self._steps, self._memory.may_record = None, False
                self._memory.clear()
        return decode(self._model, self._cache, self._mask, step, states)

    def reorder(self, rows: Tensor) -> None:
        """Let row i continue what row ``rows[i]`` has read; rows: (R,)."""
        self._cache.reorder(rows)

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Drop the sentences that leave: keep of each tensor (B, ...) the rows that ``gather`` gives."""
        self._cache.keep_rows(gather)
        if self._mask is not None:
            self._mask = gather(self._mask)


def decode(
    model: BartForConditionalGeneration, cache: DecoderCache, mask: Tensor | None, step: DecodeStep, states: Tensor
) -> Tensor:
    """The newest tokens' embeddings (R, 1, D) to the logits of the next ones, float32 (R, V)."""
    decoded = model.model.decoder.decode_next(states, mask, cache, step)  # (R, 1, D)
    return model.project_to_vocabulary(decoded[:, -1]).to(torch.float32)


def _recorded_steps(
    model: BartForConditionalGeneration, sources: Sources, beams: int, max_length: int, memory: StepMemory
) -> RecordedSteps:
    """The memory's steps, or new ones, for sources and outputs whose lengths are rounded up, so that few shapes occur.

    max_length: of the outputs, without the start token.
    """
    (sentences, length), attention_mask = sources.shape, sources.mask
    missing = -length % _SOURCE_WINDOW
    max_length = -(-max_length // _WINDOW) * _WINDOW
    shape = (sentences, length + missing, attention_mask is None and not missing, beams, max_length)
    steps = memory.get(shape)  # before the encoder: what it gives up, the encoder may need
    encoder_states = sources.encode(model)
    if missing:
        if attention_mask is None:
            attention_mask = torch.ones(sources.shape, dtype=torch.long, device=sources.device)
        attention_mask = F.pad(attention_mask, (0, missing))
        encoder_states = F.pad(encoder_states, (0, 0, 0, missing))
    mask = padding_mask(attention_mask)
    if steps is not None:
        steps.reset(encoder_states, mask)
        return steps
    cache = model.model.decoder.new_cache(encoder_states, beams, max_length)
    return memory.put(shape, RecordedSteps(model, cache, None if mask is None else mask.clone()))
