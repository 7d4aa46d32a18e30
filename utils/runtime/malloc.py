"""Keep freed memory within the process: a model on a CPU allocates and frees large tensors over and over."""

import ctypes
import os
import sys
import time

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # numbers of mallopt's parameters, in glibc's malloc.h
_NEVER = -1
_SECONDS_BETWEEN_TRIMS = 30.0
_PRIMITIVES = 16


def keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones. Do nothing without glibc.

    By default glibc maps each large block anew, and the system clears every page at its first use: a fifth of a
    training step in float32, measured on a virtual machine.
    """
    library = _glibc()
    if library is not None:
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)


def limit_primitive_cache() -> None:
    """Have oneDNN remember as many of its primitives as one step uses. Call this before the first of them runs.

    By default it keeps 1,024, with the code that it wrote for each shape. The batches of a training have ever new
    shapes, so the process would grow for hundreds of steps, and hardly a primitive would be used again. The variable
    of oneDNN that says how many may be set by the user.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_PRIMITIVES))


class FreedMemory:
    """Gives the memory of freed tensors back to the system, now and then.

    Tensors whose sizes vary leave gaps that no later one fits into, so a process that never gives memory back grows
    for hours. To give it back takes tenths of a second, and its first use after that is slow.
    """

    def __init__(self) -> None:
        """Begin to wait."""
        self._last = time.monotonic()

    def trim_if_due(self) -> None:
        """Give it back, unless that was less than half a minute ago. Do nothing without glibc."""
        if time.monotonic() - self._last < _SECONDS_BETWEEN_TRIMS:
            return
        library = _glibc()
        if library is not None:
            library.malloc_trim(ctypes.c_size_t(0))
        self._last = time.monotonic()


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    return library if hasattr(library, "mallopt") else None  # musl has none
