import pytest
import torch

from bart.errors import OutOfMemory
from bart.out_of_memory import is_out_of_memory, out_of_memory_as


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_gpu_without_memory(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        OSError("Cannot allocate memory"),
    ],
)
def test_another_error_is_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), out_of_memory_as("lower --train_batch_size"):
        raise error


def test_a_cpu_without_memory() -> None:
    """Both torch and Python itself may run out of memory."""
    for take in (lambda: torch.empty(1 << 60, dtype=torch.uint8), lambda: bytearray(1 << 60)):
        with pytest.raises(OutOfMemory, match="lower --batch_size"), out_of_memory_as("lower --batch_size"):
            take()
