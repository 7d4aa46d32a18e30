"""Decoding steps as CUDA graphs: a GPU is told a step's kernels once, and then runs them again at one command.

A step's hundreds of kernels take longer to start than to run. Graphs need tensors of fixed shapes at fixed places in
memory, so there is one for each number of sentences and window of output length.
Shapes: B sentences, R = B * beams rows, S source length, D model, V vocabulary.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.generation.model import SearchableModel, next_logits
from bart.generation.sources import Sources
from bart.modeling.layers.attention import padding_mask
from bart.modeling.layers.kv_cache import DecoderCache, DecodeStep

_WARM_UPS = 2  # runs before a capture, in which libraries allocate what they need
_WINDOW = 32  # tokens of an output for which the shapes of a step stay the same
_SOURCE_WINDOW = 64  # tokens of a source, likewise


class CudaGraphCapture:
    """Captures computations that take turns, so that the intermediate results of all lie in the same memory."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def capture(self, compute: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        """Return ``compute`` for arguments of the example's shape. Raises RuntimeError if it cannot be captured.

        Everything else that it reads, and what it writes for others, must stay at its place in memory. On the CPU,
        which has no graphs, it is computed at every call.
        """
        given = example.clone()
        run: Callable[[], None] = self._graph(compute, given).replay if self._on_gpu else lambda: compute(given)

        def again(argument: Tensor) -> None:
            given.copy_(argument)
            run()

        return again

    def _graph(self, compute: Callable[[Tensor], None], given: Tensor) -> torch.cuda.CUDAGraph:
        usual = torch.cuda.current_stream()
        self._stream.wait_stream(usual)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    compute(given)
            # Other threads, such as NCCL's, may go on with what they do.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                compute(given)
        finally:
            torch.cuda.set_stream(usual)  # when a capture fails, torch leaves the other stream set
            usual.wait_stream(self._stream)
        return graph


class GraphedDecoder:
    """Decoding steps for sources of one shape, captured, with the tensors that they read and write."""

    def __init__(self, model: SearchableModel, cache: DecoderCache, mask: Tensor | None) -> None:
        """mask: bool (B, 1, 1, S), or None."""
        self.cache, self.mask = cache, mask
        cache.keep_shapes(_WINDOW)
        self._model = model
        sentences, device = len(cache.layers[0].cross_keys), cache.layers[0].cross_keys.device
        self._logits = torch.empty(sentences * cache.beams, model.config.vocab_size, dtype=torch.float32, device=device)
        self._capture = CudaGraphCapture(device)
        self._graphs: dict[tuple[int, int], Callable[[Tensor], None]] = {}  # by rows and length of the cache

    def reset(self, encoder_states: Tensor, mask: Tensor | None) -> None:
        """Begin anew with other sources."""
        self._model.get_decoder().reset_cache(self.cache, encoder_states)
        if self.mask is not None and mask is not None:
            self.mask.copy_(mask)

    def logits(self, states: Tensor, mask: Tensor | None, step: DecodeStep) -> Tensor:
        """Return what ``next_logits`` returns. Raises RuntimeError if the device cannot capture it."""
        rows = len(states)
        if (rows, step.cache_length) not in self._graphs:
            write = partial(self._write_logits, self._model, self.cache, mask, step, self._logits[:rows])
            self._graphs[rows, step.cache_length] = self._capture.capture(write, states)
        self._graphs[rows, step.cache_length](states)
        return self._logits[:rows]

    # Static, since a graph that held this object would keep its memory until Python collects the cycle.
    @staticmethod
    def _write_logits(
        model: SearchableModel,
        cache: DecoderCache,
        mask: Tensor | None,
        step: DecodeStep,
        logits: Tensor,
        states: Tensor,
    ) -> None:
        logits.copy_(next_logits(model, cache, mask, step, states))


class CudaGraphCache:
    """Keeps the graphs of a search for the next search of the same shape.

    To capture a step takes as long as several steps do. The model and the place of its weights in memory must not
    change meanwhile.
    """

    def __init__(self) -> None:
        self.may_capture = True  # until it has failed
        self._shape: object = None
        self._decoder: GraphedDecoder | None = None

    @property
    def is_filled(self) -> bool:
        """Whether it holds graphs."""
        return self._decoder is not None

    def get(self, shape: object) -> GraphedDecoder | None:
        """Return the decoder of that shape, or None. Deletes one of another shape."""
        if self._shape != shape:
            self.clear()
        return self._decoder

    def put(self, shape: object, decoder: GraphedDecoder) -> GraphedDecoder:
        """Keep a decoder; returns it."""
        self._shape, self._decoder = shape, decoder
        return decoder

    def clear(self) -> None:
        """Give the memory back."""
        self._shape = self._decoder = None


def graphed_decoder(
    model: SearchableModel, sources: Sources, beams: int, max_length: int, graphs: CudaGraphCache
) -> GraphedDecoder:
    """Take the decoder from the cache, or make one; lengths are rounded up, so that few shapes occur.

    Args:
        max_length: of the outputs, without the start token.
    """
    (sentences, length), attention_mask = sources.shape, sources.mask
    missing = -length % _SOURCE_WINDOW
    max_length = -(-max_length // _WINDOW) * _WINDOW
    shape = (sentences, length + missing, attention_mask is None and not missing, beams, max_length)
    decoder = graphs.get(shape)  # before the encoder, which may need the memory that this frees
    encoder_states = sources.encode(model)
    if missing:
        if attention_mask is None:
            attention_mask = torch.ones(sources.shape, dtype=torch.long, device=sources.device)
        attention_mask = F.pad(attention_mask, (0, missing))
        encoder_states = F.pad(encoder_states, (0, 0, 0, missing))
    mask = padding_mask(attention_mask)
    if decoder is not None:
        decoder.reset(encoder_states, mask)
        return decoder
    cache = model.get_decoder().new_cache(encoder_states, beams, max_length)
    return graphs.put(shape, GraphedDecoder(model, cache, None if mask is None else mask.clone()))
