"""What holds for all tests."""

import os
import signal
from collections.abc import Iterator

# Triton reads this when it is imported: its interpreter runs kernels on the CPU. tests/gpu runs them on a GPU.
if os.environ.get("BART_TEST_DEVICE") != "cuda":
    os.environ.setdefault("TRITON_INTERPRET", "1")

import pytest

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C, and so would every program that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def kernels_on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the model choose this project's Triton kernels on the CPU too, where Triton's interpreter runs them."""
    from bart.modeling.kernels import available

    monkeypatch.setattr(available, "_DEVICES", {"cpu", "cuda"})
    yield
    available._load.cache_clear()
