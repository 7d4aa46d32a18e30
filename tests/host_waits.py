"""Counts what would make the host wait for a GPU, on a CPU: every read of a tensor's values."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_OPERATIONS = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "unique_dim", "_unique2", "bincount"}
_OURS = tuple(str(Path(__file__).parents[1] / folder) for folder in ("bart/", "utils/"))
_METHODS = ("tolist", "numpy", "cpu", "__array__")


class HostWaits(TorchDispatchMode):
    """While active, notes the function of this project that reads values, for each read."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[str] = []  # such as module.function
        self._is_paused = False
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> "HostWaits":
        for name in _METHODS:
            self._patch.setattr(Tensor, name, self._noting(getattr(Tensor, name)))
        return super().__enter__()

    def __exit__(self, *arguments: Any) -> None:
        super().__exit__(*arguments)
        self._patch.undo()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing within this block: its tensors are the host's on a GPU, too."""
        before, self._is_paused = self._is_paused, True
        try:
            yield
        finally:
            self._is_paused = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in _OPERATIONS:
            self._note()
        return func(*args, **(kwargs or {}))

    def _noting(self, method: Any) -> Any:
        def noted(tensor: Tensor, *arguments: Any, **keywords: Any) -> Any:
            self._note()
            with self.paused():
                return method(tensor, *arguments, **keywords)

        return noted

    def _note(self) -> None:
        if not self._is_paused:
            calls = [call for call in traceback.extract_stack() if call.filename.startswith(_OURS)]
            self.readers.append(f"{Path(calls[-1].filename).stem}.{calls[-1].name}" if calls else "a library")
