"""The door for weight files of others: safetensors and both formats of ``torch.save``. Nothing in them is run.

All that torch, safetensors and zipfile raise about a file becomes an InputError of one line that names it. What would
cost much time or memory is refused before it is read. Behind this door there are plain tensors and plain data.
"""

import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bart.checkpoints.pickle_reader import ForbiddenNameError
from bart.checkpoints.torch_file import read_torch_file
from bart.errors import InputError, printable

# What is raised about the content of a file, as tests/checkpoints/test_weight_fuzz.py meets it.
_RAISED = (
    OSError,  # the file cannot be opened, read or mapped
    RuntimeError,  # torch: of shapes and devices; NotImplementedError is a kind: of versions of archives
    ValueError,  # a damaged pickle, a text that is not UTF-8, what torch does not write
    EOFError,  # the file ends too early
    MemoryError,  # more values than there is memory
    struct.error,  # a header of the archive is cut
    zipfile.BadZipFile,  # the archive's directory is damaged
    SafetensorError,
)
_PLAIN_ADVICE = "save the weights as plain tensors"
_XLA = "tensors of an XLA device; save the weights from a CPU, by model.cpu() or by torch_xla's own save"
_OTHER_TENSORS = {
    "torch._utils._rebuild_sparse_tensor": f"a sparse tensor; {_PLAIN_ADVICE}",
    "torch._utils._rebuild_qtensor": f"a quantized tensor; {_PLAIN_ADVICE}",
    "torch._utils._rebuild_nested_tensor": f"a nested tensor; {_PLAIN_ADVICE}",
    "torch._utils._rebuild_meta_tensor_no_storage": f"a tensor without values; {_PLAIN_ADVICE}",
    "torch._utils._rebuild_xla_tensor": _XLA,
    "torch._utils._rebuild_device_tensor_from_numpy": _XLA,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _XLA,
}
# Limits of what is not weights. For bart-large a pickle has 0.06 MB and 15,000 operations, with optimizer states 0.2 MB
# and 63,000; the header of its model.safetensors has 0.06 MB.
_MOST_BYTES = 2**24
# Of a checkpoint of this project, so up to 67 million operations: its history has 154 bytes and 32 operations for each
# record of the training, so 300,000 records have 46 MB and 9.6 million (5 s to read), and two million are read.
OWN_MOST_BYTES = 2**30
_LONGEST_NAME = 200
_LONGEST_LIST = 2**20  # entries of a setting, such as tokens that a summary may not have
_LONGEST_TEXT = 2**16  # characters of a setting, such as a prefix
_GIVE_ANOTHER = "fetch or save it again, or give another file"


def load_weights_only(
    path: Path,
    *,
    keep_objects: bool = False,
    mmap: bool = True,
    most_bytes: int = _MOST_BYTES,
    advice: str = _GIVE_ANOTHER,
) -> Any:
    """Load a file of ``torch.save`` on the CPU: tensors and plain containers.

    Args:
        path: the file.
        keep_objects: put an ``Unknown`` in the place of every object in the file whose class is not torch's; otherwise
            such a file is refused.
        mmap: map the tensors to the file instead of reading them, if its format allows that.
        most_bytes: bytes that the file may have beside the values of its tensors.
        advice: what to do if it cannot be read; for messages.

    Raises:
        InputError: the file cannot be read, holds anything else, or describes its tensors at excessive length.
    """
    try:
        with _refusing(path, "cannot be read", advice):
            return read_torch_file(path, mmap=mmap, most_bytes=most_bytes, keep_objects=keep_objects)
    except ForbiddenNameError as error:
        (name,) = error.args
        if name in _OTHER_TENSORS:
            raise InputError(f"{path}: holds {_OTHER_TENSORS[name]}") from error
        raise _more_than_tensors(path, advice, f" ({printable(name)})") from error


def load_safetensors(path: Path) -> dict[str, Tensor]:
    """Load all tensors of a file of safetensors, mapped to the file. Raises InputError."""
    with _refusing(path, "not a readable safetensors file", "fetch it again"):
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
        if header_bytes > _MOST_BYTES:
            raise ValueError(f"its header has {header_bytes:,} bytes, more than {_MOST_BYTES:,}")
        tensors = load_file(path)
    return plain_tensors(tensors, path)


@contextmanager
def _refusing(path: Path, problem: str, advice: str) -> Iterator[None]:
    """Turn what the libraries raise about a file into an InputError."""
    try:
        yield
    except pickle.UnpicklingError as error:
        raise _more_than_tensors(path, advice) from error
    except _RAISED as error:
        raise InputError(f"{path}: {problem} ({first_line(error)}); {advice}") from error


def _more_than_tensors(path: Path, advice: str, found: str = "") -> InputError:
    """Return the error about a pickle that holds other objects."""
    return InputError(f"{path}: holds more than tensors, or is damaged; nothing of it was run{found}: {advice}")


def plain_tensors(stored: Any, path: Path) -> dict[str, Tensor]:
    """Return a state dict of a file, if its tensors lie in the file as they are.

    Raises:
        InputError: ``stored`` is no dict, a name is no printable text, a value is no tensor, or has more elements than
            are stored, such as an expanded one.
    """
    if not isinstance(stored, Mapping):
        raise InputError(f"{path}: holds no state dict of tensors; give another file")
    file_bytes = path.stat().st_size
    tensors = {}
    for name, tensor in stored.items():
        if not isinstance(name, str):
            raise InputError(f"{path}: has a {type(name).__name__} for the name of a tensor; give another file")
        if not name.isprintable() or len(name) > _LONGEST_NAME:
            raise InputError(f"{path}: a tensor has the name {printable(name)!r}; give another file")
        if not isinstance(tensor, Tensor):
            raise InputError(f"{path}: {name} is a {type(tensor).__name__}, not a tensor; give another file")
        values = min(tensor.untyped_storage().nbytes(), file_bytes) // tensor.element_size()
        if tensor.numel() > values:
            shape = printable(str(tuple(tensor.shape)))
            found = f"{name} has the shape {shape}, but only {values:,} values are stored"
            raise InputError(f"{path}: {found}; save it with all its values")
        tensors[name] = tensor
    return tensors


def plain_settings(stored: Any, path: Path) -> dict[str, Any]:
    """Return settings from a file by their names: numbers, texts, booleans, None, or lists of these.

    Raises:
        InputError: ``stored`` is no dict, or holds anything else.
    """
    if not isinstance(stored, dict):
        raise InputError(f"{path}: holds no configuration; is it a checkpoint of this project?")
    for name, value in stored.items():
        if not isinstance(name, str) or not is_plain(value):
            what = f"{printable(name) if isinstance(name, str) else type(name).__name__}: {type(value).__name__}"
            raise InputError(f"{path}: its configuration holds {what}; is it a checkpoint of this project?")
    return stored


def is_plain(value: Any, depth: int = 3) -> bool:
    """Return whether a value is a short text, a number, a boolean, None, or a list of them within ``depth`` lists."""
    if isinstance(value, list):
        return depth > 0 and len(value) <= _LONGEST_LIST and all(is_plain(entry, depth - 1) for entry in value)
    return (isinstance(value, str) and len(value) <= _LONGEST_TEXT) or isinstance(value, (bool, int, float, type(None)))


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class if it says nothing by itself."""
    text = str(error).strip()
    if not text or isinstance(error, (LookupError, AssertionError)):
        text = f"{type(error).__name__} {text}".strip()
    return printable(text.splitlines()[0])
