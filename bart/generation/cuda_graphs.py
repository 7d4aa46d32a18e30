"""Decoding steps as CUDA graphs: the kernels of a step are recorded once, then replayed with one command.

The hundreds of kernels of a step take longer to launch than to run. A graph needs tensors of fixed shapes at fixed
addresses, so there is one graph for each number of sentences and each window of output lengths.
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

_WARM_UPS = 2  # runs before the first capture, so that libraries allocate what they need; one before a later one
_FEWEST_STEPS = 6  # that must be left in a window for a capture to pay: it takes as long as several steps
_WINDOW = 32  # output lengths that share the shapes of a step, in tokens
_SOURCE_WINDOW = 128  # source lengths are rounded up to a multiple of this, in tokens


class CudaGraphCapture:
    """Captures computations as CUDA graphs that share one memory pool, since they never run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._warm_ups = _WARM_UPS
        if self._on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def capture(self, compute: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        """Capture a computation, and return a function that replays it.

        On the CPU, which has no graphs, the function computes at every call.

        Args:
            compute: everything that it reads or writes besides its argument must stay at the same address.
            example: an argument; all later ones must have its shape and type.

        Raises:
            RuntimeError: it cannot be captured.
        """
        given = example.clone()
        run: Callable[[], None] = self._graph(compute, given).replay if self._on_gpu else lambda: compute(given)

        def again(argument: Tensor) -> None:
            given.copy_(argument)
            run()

        return again

    def _graph(self, compute: Callable[[Tensor], None], given: Tensor) -> torch.cuda.CUDAGraph:
        """Record ``compute(given)`` on a stream of its own."""
        usual = torch.cuda.current_stream()
        self._stream.wait_stream(usual)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.stream(self._stream):
                for _ in range(self._warm_ups):
                    compute(given)
            self._warm_ups = 1
            # thread_local: other threads, such as NCCL's, may use the GPU meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                compute(given)
        finally:
            torch.cuda.set_stream(usual)  # when a capture fails, torch leaves the other stream set
            usual.wait_stream(self._stream)
        return graph


class GraphedDecoder:
    """Captured decoding steps for sources of one shape, with the tensors that they read and write."""

    def __init__(self, model: SearchableModel, cache: DecoderCache, mask: Tensor | None) -> None:
        """Prepare to capture steps with ``cache`` and the source's ``mask``: bool (B, 1, 1, S), or None."""
        self.cache, self.mask = cache, mask
        cache.keep_shapes(_WINDOW)
        self._model = model
        sentences, device = len(cache.layers[0].cross_keys), cache.layers[0].cross_keys.device
        self._logits = torch.empty(sentences * cache.beams, model.config.vocab_size, dtype=torch.float32, device=device)
        self._capture = CudaGraphCapture(device)
        self._graphs: dict[tuple[int, int], Callable[[Tensor], None]] = {}  # by rows and length of the cache
        self.bytes = sum(cache.bytes()) + self._logits.nbytes

    def reset(self, encoder_states: Tensor, mask: Tensor | None) -> None:
        """Start over with other sources: states (B, S, D), mask bool (B, 1, 1, S) or None."""
        self._model.get_decoder().reset_cache(self.cache, encoder_states)
        if self.mask is not None and mask is not None:
            self.mask.copy_(mask)

    def logits(self, states: Tensor, mask: Tensor | None, step: DecodeStep) -> Tensor:
        """Return the logits of ``next_logits``: float32 (R, V). The next call overwrites them.

        Raises:
            RuntimeError: the device cannot capture the step.
        """
        rows = len(states)
        if (rows, step.cache_length) not in self._graphs:
            if step.cache_length // self.cache.beams - self.cache.length < _FEWEST_STEPS - 1:
                return next_logits(self._model, self.cache, mask, step, states)
            write = partial(self._write_logits, self._model, self.cache, mask, step, self._logits[:rows])
            self._graphs[rows, step.cache_length] = self._capture.capture(write, states)
        self._graphs[rows, step.cache_length](states)
        return self._logits[:rows]

    # Static: a graph that referred to this object would keep its memory until the garbage collector finds the cycle.
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
    """Keeps the graphs of searches for later searches of the same shapes.

    Capturing a step takes as long as several steps. The model and the addresses of its weights must not change in
    between.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        """Start without graphs.

        Args:
            most_bytes: of the tensors that decoders of several shapes hold; None: a quarter of the GPU's memory. One
                decoder is kept however large it is; the least recently used ones are deleted.
        """
        self.may_capture = True  # false after a capture has failed
        self._most_bytes = most_bytes
        self._decoders: dict[object, GraphedDecoder] = {}  # by shape, the least recently used first

    @property
    def is_filled(self) -> bool:
        """Whether it holds graphs."""
        return bool(self._decoders)

    def get(self, shape: object, needed_bytes: int, device: torch.device) -> GraphedDecoder | None:
        """Return the decoder of that shape; if there is none, make room for one of ``needed_bytes``."""
        decoder = self._decoders.pop(shape, None)
        if decoder is not None:
            self._decoders[shape] = decoder  # the most recently used is the last
            return decoder
        most = _quarter_of_memory(device) if self._most_bytes is None else self._most_bytes
        while self._decoders and sum(kept.bytes for kept in self._decoders.values()) + needed_bytes > most:
            del self._decoders[next(iter(self._decoders))]
        return None

    def put(self, shape: object, decoder: GraphedDecoder) -> GraphedDecoder:
        """Keep a decoder for sources of ``shape``, and return it."""
        self._decoders[shape] = decoder
        return decoder

    def clear(self) -> None:
        """Delete the graphs, and with them the memory that they hold."""
        self._decoders.clear()


def _quarter_of_memory(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).total_memory // 4 if device.type == "cuda" else 0


def graphed_decoder(
    model: SearchableModel, sources: Sources, beams: int, max_length: int, graphs: CudaGraphCache
) -> GraphedDecoder:
    """Return a decoder for these sources: from ``graphs`` if it has one of this shape, else a new one.

    Args:
        model: the model to decode with.
        sources: B sources of length S.
        beams: of each source.
        max_length: longest output, without the start token.
        graphs: keeps the decoder that is returned.
    """
    # Lengths are rounded up, so that few shapes occur.
    (sentences, length), attention_mask = sources.shape, sources.mask
    missing = -length % _SOURCE_WINDOW
    max_length = -(-max_length // _WINDOW) * _WINDOW
    shape = (sentences, length + missing, attention_mask is None and not missing, beams, max_length)

    # The cache comes before the encoder, which may need the memory of graphs that are deleted here.
    config = model.config
    cached_tokens = sentences * (length + missing + beams * max_length)
    needed_bytes = 2 * config.decoder_layers * cached_tokens * config.d_model * model.dtype.itemsize
    decoder = graphs.get(shape, needed_bytes + 4 * sentences * beams * config.vocab_size, sources.device)
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
