"""Count, on a CPU, the operations that would launch a kernel on a GPU.

A TorchDispatchMode sees every operation below autograd, those of the backward pass too, with its schema: so views are
told from copies, which a profiler's names do not always do, and what a Triton kernel's interpreter computes can be left
out. A kernel of this project counts as one launch, a replayed CUDA graph too. So does each operation of torch, although
torch launches several kernels for some (the gradients of a norm, an optimizer over many tensors).
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

TRITON, GRAPH = "Triton: ", "CUDA graph"
_WITHOUT_KERNEL = {"detach", "alias", "lift_fresh", "_unsafe_view", "set_", "resize_", "is_same_size", "record_stream"}
_WITHOUT_KERNEL |= {"_local_scalar_dense", "_has_compatible_shallow_copy_type"}
_ONE_LAUNCH = {"aten::linear", "aten::scaled_dot_product_attention"}  # although they consist of others
_ALLOCATES = ("empty", "new_empty", "_empty")


class LaunchCounter(TorchDispatchMode):
    """Counts launches by name while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()  # by the host
        self.in_graphs: Counter[str] = Counter()  # operations and kernels that are recorded in a CUDA graph
        self._graphs = 0  # that are being replayed
        self._paused = False

    def add(self, name: str) -> None:
        """Count one launch."""
        if not self._paused:
            (self.in_graphs if self._graphs else self.launches)[name] += 1

    @contextmanager
    def kernel(self, name: str) -> Iterator[None]:
        """Count the block as one kernel."""
        self.add(name)
        before, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = before

    @contextmanager
    def graph(self) -> Iterator[None]:
        """Count the block as one launch of a graph."""
        self.add(GRAPH)
        self._graphs += 1
        try:
            yield
        finally:
            self._graphs -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name not in _ONE_LAUNCH:
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:  # it consists of other operations, which are counted
                return result
        result = func(*args, **(kwargs or {}))
        if launches(func, result):
            self.add(func._schema.name.partition("::")[2])
        return result


def launches(operation: Any, result: Any) -> bool:
    """Return whether an operation would launch a kernel: it is no view, no allocation, and not for the host alone."""
    name = operation._schema.name.partition("::")[2]
    if operation.is_view or name in _WITHOUT_KERNEL or name.startswith((*_ALLOCATES, "sym_")):
        return False
    # Seeds are drawn on the host, on a GPU too.
    return not (name == "randint" and isinstance(result, Tensor) and result.ndim == 0)


@contextmanager
def as_on_a_gpu(counter: LaunchCounter, kernels: bool) -> Iterator[None]:
    """Let the model compute on the CPU what it does on a GPU, with this project's Triton kernels or without.

    Attention is torch's, dropout is one operation, nothing is unpadded, the vocabulary is aligned, and the steps of a
    search are graphs.
    """
    from bart.modeling.kernels import available

    def never(*_: Any) -> bool:
        return False

    devices = {"cpu", "cuda"}
    changes: list[tuple[str, str, Any]] = [
        ("bart.modeling.kernels.available", "_DEVICES", devices if kernels else {"cuda"}),
        ("bart.modeling.layers.aligned_vocabulary", "_DEVICES", devices),
        ("bart.modeling.layers.attention", "_suits_blocks", never),
        ("bart.modeling.layers.attention", "_decoding_attention", F.scaled_dot_product_attention),
        ("bart.modeling.layers.transformer", "_exceeds_cpu_cache", never),
        ("bart.modeling.layers.fused_cross_entropy", "_ROWS_ON_CPU", 2**31),
        ("bart.modeling.layers.dropout.Dropout", "forward", _dropout),
        ("bart.modeling.modeling_bart.BartForConditionalGeneration", "_suits_unpadding", never),
        ("bart.generation.step_decoder", "_WITH_GRAPHS", devices),
        ("bart.generation.active_sentences", "_HALVES", devices),
        ("torch.backends.mkldnn", "is_available", never),
    ]
    with ExitStack() as stack:
        for owner, name, value in changes:
            patch(stack, owner, name, value)
        patch(stack, "bart.generation.cuda_graphs.CudaGraphCapture", "capture", _counted_capture(counter))
        if kernels:
            stack.enter_context(_counted_kernels(counter))
        available._load.cache_clear()
        try:
            yield
        finally:
            available._load.cache_clear()


def patch(stack: ExitStack, owner: str, name: str, value: Any) -> None:
    """Replace an attribute of a module or a class until the stack is closed."""
    try:
        found = importlib.import_module(owner)
    except ModuleNotFoundError:
        module, _, of_module = owner.rpartition(".")
        found = getattr(importlib.import_module(module), of_module)
    stack.enter_context(mock.patch.object(found, name, value))


def _dropout(module: Any, states: Tensor) -> Tensor:
    """Dropout as the one operation that it is on a GPU; on a CPU torch's own takes three."""
    if not module.training or module.p == 0:
        return states
    dropped: Tensor = torch.native_dropout(states, module.p, True)[0]
    return dropped


def _counted_capture(counter: LaunchCounter) -> Callable[..., Any]:
    """Make a ``CudaGraphCapture.capture`` that counts each replay."""
    from bart.generation.cuda_graphs import CudaGraphCapture

    capture = CudaGraphCapture.capture

    def counted(itself: Any, compute: Callable[..., Any], *given: Any, **named: Any) -> Any:
        def replay(*arguments: Any) -> Any:
            with counter.graph():
                return compute(*arguments)

        return capture(itself, replay, *given, **named)

    return counted


@contextmanager
def _counted_kernels(counter: LaunchCounter) -> Iterator[None]:
    """Count what Triton's interpreter runs. TRITON_INTERPRET must have been 1 when Triton was imported."""
    from triton.runtime.interpreter import GridExecutor

    run = GridExecutor.__call__

    def counted(itself: Any, *args: Any, **kwargs: Any) -> Any:
        with counter.kernel(f"{TRITON}{itself.fn.__name__}"):
            return run(itself, *args, **kwargs)

    with mock.patch.object(GridExecutor, "__call__", counted):
        yield
