"""Load files of ``torch.save`` without running code from them."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from bart.errors import InputError

UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError)


def load_weights_only(path: Path) -> Any:
    """Load a file of ``torch.save`` on the CPU, memory-mapped if its format allows that.

    Only tensors, plain containers and classes among torch's safe globals are unpickled.

    Raises:
        InputError: the file cannot be read, or holds anything else.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:
        pass  # a file of torch < 1.6 cannot be mapped
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> InputError:
    """Return the error that tells the user what is wrong with the file."""
    if isinstance(error, pickle.UnpicklingError):
        return InputError(f"{path}: holds more than tensors, or is damaged; nothing of it was run. Give another file")
    return InputError(f"{path}: cannot be read ({first_line(error)}); it may be cut short: fetch or save it again")


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
