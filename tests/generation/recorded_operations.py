"""A stand-in for CUDA graphs on the CPU: it records the operations of a step, and repeats them on the same tensors.

As with a CUDA graph, no Python code runs in a repetition: whatever a step takes from the host is out of date then.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from bart.generation import active_sentences, cuda_graphs, step_decoder
from bart.generation.cuda_graphs import CudaGraphCapture

# They read a value back, or bring one from the host, for which a GPU cannot wait while it records.
_REFUSED = {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.lift_fresh.default}


class RecordedOperations(TorchDispatchMode):
    """Records the operations within its block."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Any]]] = []
        self._overwritten: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _REFUSED:
            raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        is_view = any(value.alias_info and not value.alias_info.is_write for value in func._schema.returns)
        self._overwritten += [(tensor, tensor.clone()) for tensor in _written(func, args, kwargs)]
        results = func(*args, **kwargs)
        if not is_view:
            self._calls.append((func, args, kwargs, [] if _written(func, args, kwargs) else tree_leaves(results)))
        return results

    def undo(self) -> None:
        """Put back all that was overwritten: recording does not compute."""
        for tensor, before in reversed(self._overwritten):
            tensor.copy_(before)
        self._overwritten.clear()

    def repeat(self) -> None:
        """Run all operations on the same tensors again."""
        with _disable_current_modes():
            for func, args, kwargs, results in self._calls:
                for result, again in zip(results, tree_leaves(func(*args, **kwargs)), strict=False):
                    if isinstance(result, Tensor):
                        assert result.shape == again.shape
                        result.copy_(again)


def _written(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """The arguments that an operation overwrites."""
    given = zip(func._schema.arguments, args, strict=False)
    named = [(value, kwargs[value.name]) for value in func._schema.arguments if value.name in kwargs]
    return [tensor for value, tensor in [*given, *named] if value.alias_info and value.alias_info.is_write]


def record_on_cpu(monkeypatch: pytest.MonkeyPatch, window: int = 32, fewest_steps: int = 6) -> list[tuple[int, ...]]:
    """Let searches on the CPU take steps as on a GPU, recorded. The list is filled with each capture that follows.

    ``fewest_steps`` must be 2 or more, since recording a step takes it, and then takes it back.
    """
    captures: list[tuple[int, ...]] = []

    def capture(_: CudaGraphCapture, compute: Callable[[Tensor], None], example: Tensor) -> Callable[[Tensor], None]:
        captures.append(tuple(example.shape))
        recorded = RecordedOperations()
        with recorded:
            compute(example)
        recorded.undo()

        def again(argument: Tensor) -> None:
            if argument is not example:
                example.copy_(argument)
            recorded.repeat()

        return again

    monkeypatch.setattr(CudaGraphCapture, "capture", capture)
    monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    monkeypatch.setattr(active_sentences, "_HALVES", {"cpu"})
    monkeypatch.setattr(cuda_graphs, "_WINDOW", window)
    monkeypatch.setattr(cuda_graphs, "_FEWEST_STEPS", fewest_steps)
    monkeypatch.setattr(cuda_graphs, "_SOURCE_WINDOW", 8)
    return captures
