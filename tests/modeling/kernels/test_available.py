"""When this project's kernels are chosen."""

import warnings

import pytest
import torch

from bart.modeling.kernels import available
from bart.modeling.kernels.available import SWITCH, triton_kernels, without_kernels

NUMBERS = torch.zeros(8)


@pytest.fixture(autouse=True)
def forget() -> None:
    available._load.cache_clear()


def test_never_on_a_cpu() -> None:
    assert triton_kernels(NUMBERS) is None


@pytest.mark.usefixtures("kernels_on_cpu")
def test_by_type() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        assert triton_kernels(NUMBERS.to(dtype)) is not None
    assert triton_kernels(NUMBERS.double()) is None


@pytest.mark.usefixtures("kernels_on_cpu")
def test_the_trial_computes() -> None:
    kernels = triton_kernels(NUMBERS)
    values = torch.arange(200.0)
    kernels.add_one(values)
    assert torch.equal(values, torch.arange(1.0, 201.0))


@pytest.mark.usefixtures("kernels_on_cpu")
def test_a_block_leaves_them_out() -> None:
    with without_kernels():
        with without_kernels():
            assert triton_kernels(NUMBERS) is None
        assert triton_kernels(NUMBERS) is None
    assert triton_kernels(NUMBERS) is not None


@pytest.mark.usefixtures("kernels_on_cpu")
def test_a_variable_leaves_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert triton_kernels(NUMBERS) is None


@pytest.mark.usefixtures("kernels_on_cpu")
def test_a_broken_compiler_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from bart.modeling.kernels import all_kernels

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("Failed to find C compiler.\nmore")

    monkeypatch.setattr(all_kernels, "add_one", fail)
    with pytest.warns(UserWarning, match="without Triton kernels.*: Failed to find C compiler.$"):
        assert triton_kernels(NUMBERS) is None
    with warnings.catch_warnings(action="error"):
        assert triton_kernels(NUMBERS) is None
