"""Memory that runs out, of the device or of the machine: how it is recognized, and said in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from bart.errors import OutOfMemory

# What torch raises as plain RuntimeErrors: its allocator for the CPU; CUDA, outside torch's allocator; cuBLAS.
_MESSAGES = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was all that was missing."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES)


@contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Turn a lack of memory into OutOfMemory with ``message``, which names the flags to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(message) from error
