"""The allocator's settings on a GPU, by a stand-in for torch's functions."""

import pytest
import torch

from utils.runtime import gpu_memory
from utils.runtime.gpu_memory import use_expandable_segments

NAMES = ["PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the allocator is told."""
    told: list[str] = []
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda.memory, "_set_allocator_settings", told.append)
    monkeypatch.setattr(gpu_memory, "_allocate", lambda: None)
    return told


def test_segments_can_grow(settings: list[str]) -> None:
    use_expandable_segments()
    assert settings == ["expandable_segments:True"]


@pytest.mark.parametrize("name", NAMES)
def test_a_users_configuration_stays(name: str, settings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "max_split_size_mb:128")
    use_expandable_segments()
    assert settings == []


def test_a_gpu_that_cannot_map_memory_keeps_the_default(settings: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("CUDA driver error: operation not supported")

    monkeypatch.setattr(gpu_memory, "_allocate", fail)
    use_expandable_segments()
    assert settings == ["expandable_segments:True", "expandable_segments:False"]


def test_torch_takes_the_settings(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    """By the function of the installed version, without a warning."""
    assert hasattr(torch.cuda.memory, "_set_allocator_settings") or hasattr(
        torch._C, "_accelerator_setAllocatorSettings"
    )
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpu_memory, "_allocate", lambda: None)
    use_expandable_segments()
    assert not recwarn.list
