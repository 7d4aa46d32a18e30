"""What holds for all tests."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

# Triton reads this when it is imported: its interpreter runs kernels on the CPU. tests/gpu runs them on a GPU.
if os.environ.get("BART_TEST_DEVICE") != "cuda":
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Refuse to test a checkout that the scripts refuse: hundreds of tests would fail."""
    checkout = Path(__file__).parents[1]
    if ":" in str(checkout):
        raise pytest.UsageError(f"{checkout} has a colon in its name, at which Python splits its search path")


@pytest.fixture
def bfloat16_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Triton's interpreter multiply bfloat16 by ``tl.dot``: of itself it takes the 16 bits for an integer."""
    import numpy as np
    from triton.language import bfloat16, float32
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    dot = InterpreterBuilder.create_dot

    def widened(handle: TensorHandle) -> TensorHandle:
        if handle.dtype.scalar != bfloat16:
            return handle
        return TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), float32)

    def create_dot(builder: InterpreterBuilder, a: TensorHandle, b: TensorHandle, *others: object) -> TensorHandle:
        return dot(builder, widened(a), widened(b), *others)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture
def kernels_on_cpu(monkeypatch: pytest.MonkeyPatch, bfloat16_dot: None) -> Iterator[None]:
    """Let the model choose this project's Triton kernels on the CPU too, where Triton's interpreter runs them."""
    from bart.modeling.kernels import available

    monkeypatch.setattr(available, "_DEVICES", {"cpu", "cuda"})
    yield
    available._load.cache_clear()
