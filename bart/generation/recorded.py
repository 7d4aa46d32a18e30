"""A computation whose kernels a GPU is told once, as a CUDA graph, and then runs again at one command."""

from collections.abc import Callable

import torch
from torch import Tensor

_WARM_UPS = 2  # runs before the recording, in which libraries allocate what they need


class Recorded:
    """``compute`` for one shape. What else than its argument it reads and writes must stay where it is in memory."""

    def __init__(self, compute: Callable[[Tensor], Tensor], example: Tensor) -> None:
        """example: of the shape that all arguments will have. Raises RuntimeError where it cannot be recorded.

        On the CPU, where there is nothing to record, it is computed at every call.
        """
        self._compute = compute
        self._given = example.clone()
        self._graph: torch.cuda.CUDAGraph | None = None
        if example.device.type == "cuda":
            self._result = self._record()

    def _record(self) -> Tensor:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                self._compute(self._given)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, such as NCCL's, may go on with what they do.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            return self._compute(self._given)

    def __call__(self, given: Tensor) -> Tensor:
        """The result for an argument; the next call writes over it."""
        self._given.copy_(given)
        if self._graph is None:
            return self._compute(self._given)
        self._graph.replay()
        return self._result
