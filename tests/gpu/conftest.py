"""The device that these tests run on: BART_TEST_DEVICE, cuda if it is not set; cpu shows that their code runs."""

import os
from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    return os.environ.get("BART_TEST_DEVICE", "cuda")


@pytest.fixture
def only_cuda(device: str) -> None:
    if device != "cuda":
        pytest.skip("only CUDA can run this")


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """Without TF32, except where a test asks for it, and afterwards again."""
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision("highest")
