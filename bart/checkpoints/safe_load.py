"""Reading what torch has saved without running what is in it."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from bart.errors import InputError

UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, SafetensorError)


def load_weights_only(path: Path) -> Any:
    """What torch saved, mapped where it can be, on the CPU.

    Nothing is unpickled but tensors, plain containers and what torch's safe globals name. Raises InputError.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:
        pass  # a file of torch < 1.6, which cannot be mapped: read it whole
    except UNREADABLE as error:
        raise _unusable(path, error) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> InputError:
    if isinstance(error, pickle.UnpicklingError):
        return InputError(f"{path}: holds more than tensors, or is damaged; nothing of it was run. Give another file")
    return InputError(f"{path}: cannot be read ({first_line(error)}); it may be cut short: fetch or save it again")


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
