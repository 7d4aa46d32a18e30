"""The choice between this project's Triton kernels and torch's operations.

Only a tensor on a GPU that Triton supports leads to an import of Triton, which takes a second.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

SWITCH = "BART_TRITON"  # environment variable: 0 leaves everything to torch
_DEVICES = {"cuda"}
_LEAST_CAPABILITY = (8, 0)  # Triton supports GPUs from Ampere on
_DTYPES = {torch.float16, torch.bfloat16, torch.float32}

_blocks_without_kernels = 0  # that are being run


@contextmanager
def without_kernels() -> Iterator[None]:
    """Leave everything within the block to torch's operations, as code needs that replaces these."""
    global _blocks_without_kernels
    _blocks_without_kernels += 1
    try:
        yield
    finally:
        _blocks_without_kernels -= 1


def triton_kernels(states: Tensor) -> ModuleType | None:
    """Return the module of all kernels, if they can compute on ``states``; None: leave it to torch.

    They can on the current GPU, from Ampere on, in float16, bfloat16 and float32, if Triton is installed and can
    compile. Code that torch.compile traces has no need of them.
    """
    device = states.device
    if device.type not in _DEVICES or states.dtype not in _DTYPES or torch.compiler.is_compiling():
        return None
    if _blocks_without_kernels > 0:
        return None
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        return None  # Triton launches on the current GPU alone
    return _load(device)


@cache
def _load(device: torch.device) -> ModuleType | None:
    """Import the kernels and try one on ``device``; return None, with a warning if something is broken."""
    if os.environ.get(SWITCH) == "0":
        return None
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return None
    try:
        from bart.modeling.kernels import all_kernels

        all_kernels.add_one(torch.zeros(8, device=device))
    except ImportError:  # Triton comes with torch's builds for CUDA only
        return None
    except Exception as error:  # whatever a compiler may raise, torch's operations work
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        warnings.warn(f"slower, without Triton kernels, since they do not compile here: {reason}", stacklevel=2)
        return None
    return all_kernels
