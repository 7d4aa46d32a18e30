"""Steps of a search as CUDA graphs: the kernels of a step are recorded once, then replayed with one command.

The hundreds of kernels of a step take longer to launch than to run. A graph needs tensors of fixed shapes at fixed
addresses, so there is one graph for each number of sentences, each window of output lengths, and all settings.
Shapes: B sentences, R = B * beams rows, S source length, D model, V vocabulary.
"""

import gc
import math
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any
from weakref import WeakSet

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.generation.model import SearchableModel
from bart.generation.sources import Sources
from bart.generation.static_decoder import StaticDecoder
from bart.generation.static_search import StaticSearch
from bart.modeling.layers.attention import padding_mask
from bart.modeling.layers.kv_cache import DecoderCache
from bart.out_of_memory import is_out_of_memory

_FEWEST_STEPS = 6  # that must be left in a window for a capture to pay: it takes as long as several steps
_WINDOW = 32  # output lengths that share the shapes of a step, in tokens
_SOURCE_WINDOW = 128  # source lengths are rounded up to a multiple of this, in tokens
_MOST_SEARCHES = 4  # settings whose graphs a decoder keeps
_BYTES_OF_A_GRAPH = 2**23  # that the driver takes, roughly
_SPARE_SHARE = 16  # a capture begins with at least this part of the GPU's memory free


class _Recorder:
    """The stream of a GPU on which all graphs are recorded, and the memory that they share."""

    def __init__(self, device: torch.device) -> None:
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self.has_failed = False  # torch may then have left it in the middle of a recording
        self._pool: Any = None
        self._graphs: WeakSet[torch.cuda.CUDAGraph] = WeakSet()

    def pool_for(self, graph: torch.cuda.CUDAGraph) -> Any:
        """Return the pool of the graphs that are left, for one more; torch refuses a pool that none uses any more."""
        if not self._graphs:
            self._pool = torch.cuda.graph_pool_handle()
        self._graphs.add(graph)
        return self._pool


_recorder = cache(_Recorder)  # of each GPU


class CudaGraphCapture:
    """Captures computations as CUDA graphs. All graphs of a GPU share memory, since they never run at the same time.

    Therefore whatever outlives a replay must be in memory from outside of the computation.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"

    def warm_up(self, compute: Callable[[Tensor], None], argument: Tensor) -> None:
        """Compute once, so that a capture finds everything loaded and allocated that kernels and libraries need."""
        if not self._on_gpu:
            compute(argument)
            return
        usual, stream = torch.cuda.current_stream(), _recorder(self._device).stream
        stream.wait_stream(usual)
        try:
            # The workspaces of cuBLAS belong to a stream.
            with torch.cuda.stream(stream):
                compute(argument)
        finally:
            usual.wait_stream(stream)

    def capture(self, compute: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        """Capture a computation without running it, after a warm-up. Return a function that runs it.

        On the CPU, which has no graphs, the function computes at every call.

        Args:
            compute: everything that it reads or writes must stay at the same address.
            example: its argument, at whose address later ones are put, unless it is given itself. They must have its
                shape and type.

        Raises:
            RuntimeError: it cannot be captured.
        """
        run: Callable[[], Any] = self._graph(compute, example).replay if self._on_gpu else lambda: compute(example)

        def again(argument: Tensor) -> None:
            if argument is not example:
                example.copy_(argument)
            run()

        return again

    def _graph(self, compute: Callable[[Tensor], None], given: Tensor) -> torch.cuda.CUDAGraph:
        """Record ``compute(given)`` on the stream for it.

        Unlike ``torch.cuda.graph`` this neither waits for the GPU nor gives back the allocator's memory each time.
        """
        recorder = _recorder(self._device)
        if recorder.has_failed:
            raise RuntimeError("an earlier capture has failed")
        free, total = torch.cuda.mem_get_info(self._device)
        if free < total // _SPARE_SHARE:
            torch.cuda.empty_cache()  # a graph's memory cannot come from what the allocator has set aside
        graph = torch.cuda.CUDAGraph()
        # What Python's collector frees, such as another graph, may need calls that would end the recording.
        collects = gc.isenabled()
        gc.disable()
        try:
            with torch.cuda.stream(recorder.stream):
                pool = recorder.pool_for(graph)
                # Without a workspace of cuBLAS, the recording makes one in the graphs' own memory. Since torch 2.12 a
                # graph that is deleted frees that of its stream, which the other graphs would still use
                # (https://github.com/pytorch/pytorch/issues/193402).
                torch._C._cuda_clearCublasWorkspaces()
                # thread_local: other threads, such as NCCL's, may use the GPU meanwhile.
                graph.capture_begin(pool=pool, capture_error_mode="thread_local")
                try:
                    compute(given)
                except BaseException:  # a signal too: what it interrupts may use the GPU to save its work
                    with suppress(RuntimeError):  # which says only that something failed before
                        graph.capture_end()
                    with suppress(RuntimeError):  # torch forgets to if the above fails
                        torch._C._cuda_endAllocateToPool(self._device.index, pool)
                    raise
                graph.capture_end()
        except BaseException as error:
            if isinstance(error, Exception) and not is_out_of_memory(error):
                recorder.has_failed = True
            else:
                _recorder.cache_clear()
            raise
        finally:
            torch._C._cuda_clearCublasWorkspaces()
            if collects:
                gc.enable()
        return graph


class GraphedDecoder:
    """A decoder for sources of one shape, the searches with it, and the graphs of their steps."""

    def __init__(self, model: SearchableModel, cache: DecoderCache, mask: Tensor | None) -> None:
        """Prepare to capture steps with an empty ``cache`` and the source's ``mask``: bool (B, 1, 1, S), or None."""
        self.static = StaticDecoder(model, cache, mask)
        keys = cache.layers[0].cross_keys
        self._shape = len(keys) * cache.beams, model.config.vocab_size
        self._device = keys.device
        self._read = 0  # tokens of each output
        self._logits: Tensor | None = None
        self._capture = CudaGraphCapture(keys.device)
        self._no_argument = torch.empty(0, device=keys.device)
        self._searches: dict[str, StaticSearch] = {}  # by settings, the least recently used first
        # By the search's settings, sentences, and the greatest length of the window.
        self._graphs: dict[tuple[str | None, int, int], Callable[[Tensor], None]] = {}
        self._tensors_bytes = sum(cache.bytes()) + 4 * math.prod(self._shape)

    @property
    def bytes(self) -> int:
        """The memory of the cache, the logits and the graphs."""
        return self._tensors_bytes + _BYTES_OF_A_GRAPH * len(self._graphs)

    def reset(self, encoder_states: Tensor, mask: Tensor | None) -> None:
        """Start over with other sources: states (B, S, D), mask bool (B, 1, 1, S) or None."""
        self.static.reset(encoder_states, mask)
        self._read = 0

    def search(self, settings: str, new_search: Callable[[StaticDecoder], StaticSearch]) -> StaticSearch:
        """Return the search with these settings; if there is none, ``new_search`` makes it."""
        search = self._searches.pop(settings, None)
        if search is None:
            search = new_search(self.static)
        self._searches[settings] = search
        if len(self._searches) > _MOST_SEARCHES:
            oldest = next(iter(self._searches))
            del self._searches[oldest]
            self._graphs = {key: graph for key, graph in self._graphs.items() if key[0] != oldest}
        return search

    def next_logits(self, tokens: Tensor, longest: int, graphs: "CudaGraphCache") -> Tensor:
        """Read the newest tokens (R,), and return the logits of the ones after them: float32 (R, V).

        The next call overwrites them. For the other arguments see ``step``.
        """
        if self._logits is None:
            self._logits = torch.empty(self._shape, dtype=torch.float32, device=self._device)
        logits = self._logits[: len(tokens)]
        # Neither refers to this object: a cycle would keep its memory until Python's collector finds it.
        self._run(None, partial(_write_logits, self.static, logits), tokens, longest, graphs)
        return logits

    def step(self, settings: str, longest: int, graphs: "CudaGraphCache") -> None:
        """Take the next step of the search with these settings.

        Args:
            settings: as for ``search``.
            longest: number of tokens that outputs read at most.
            graphs: which keeps this decoder, and knows whether the device can capture.
        """
        compute = partial(_take_step, self._searches[settings])
        self._run(settings, compute, self._no_argument, longest, graphs)

    def _run(
        self,
        settings: str | None,
        compute: Callable[[int, Tensor], None],
        argument: Tensor,
        longest: int,
        graphs: "CudaGraphCache",
    ) -> None:
        """Take a step: replay its graph, or compute and, if enough steps are left in the window, capture it."""
        self._read += 1
        window_end = -(-self._read // _WINDOW) * _WINDOW
        key = (settings, self.static.sentences, window_end)
        if key in self._graphs:
            self._graphs[key](argument)
            return
        of_window = partial(compute, window_end * self.static.beams)
        if not graphs.may_capture or min(window_end, longest) - self._read + 1 < _FEWEST_STEPS:
            of_window(argument)
            return
        self._capture.warm_up(of_window, argument)
        example = argument if argument is self._no_argument else argument.clone()
        try:
            self._graphs[key] = self._capture.capture(of_window, example)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self._graphs.clear()
            graphs.give_up(error)


def _write_logits(decoder: StaticDecoder, logits: Tensor, cache_length: int, tokens: Tensor) -> None:
    logits.copy_(decoder.next_logits(tokens, cache_length))


def _take_step(search: StaticSearch, cache_length: int, _: Tensor) -> None:
    search.step(cache_length)


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

    def give_up(self, error: RuntimeError) -> None:
        """Delete the graphs, and capture none any more, since the device cannot; ``error`` says why."""
        warnings.warn(f"searching without CUDA graphs: {str(error).splitlines()[0]}", stacklevel=2)
        self.may_capture = False
        self.clear()


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
