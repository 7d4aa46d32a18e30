"""Computations whose kernels a GPU is told once, as a CUDA graph, and then runs again at one command."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UPS = 2  # runs before a recording, in which libraries allocate what they need


class Recorder:
    """Records computations that take turns, so that the intermediate results of all lie in the same memory."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        if self._on_gpu:
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def record(self, compute: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        """``compute``, for arguments of the example's shape. Raises RuntimeError where it cannot be recorded.

        What else than its argument it reads, and what it writes for others, must stay where it is in memory. On the
        CPU, where there is nothing to record, it is computed at every call.
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
            torch.cuda.set_stream(usual)  # where a capture fails, torch leaves the other one
            usual.wait_stream(self._stream)
        return graph
