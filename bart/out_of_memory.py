"""Recognize a lack of memory, of the device or of the machine, and report it in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bart.errors import OutOfMemory

# Messages of plain RuntimeErrors: of torch's allocator for the CPU; of CUDA, outside torch's allocator; of cuBLAS.
_MESSAGES = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether ``error`` was raised because memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


@contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Raise OutOfMemory with ``message``, which names the flags to change, if memory runs out within the block."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(message) from error
