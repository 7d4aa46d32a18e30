"""The door for weight files of others: safetensors and both formats of ``torch.save``. Nothing in them is run.

All that torch, safetensors and zipfile raise about a file becomes an InputError of one line that names it. What would
cost much time or memory is refused before it is read. Behind this door there are plain tensors and plain data.
"""

import os
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from bart.checkpoints.pickle_scan import PickleScan
from bart.errors import InputError, printable

# What the libraries raise about the content of a file, as tests/checkpoints/test_weight_fuzz.py meets it.
_RAISED = (
    OSError,  # the file cannot be opened or read
    RuntimeError,  # torch: of its zip reader, of shapes and storages (NotImplementedError and RecursionError are kinds)
    ValueError,  # a number out of range, a text that is not UTF-8, an unknown pickle operation
    EOFError,  # the file ends too early
    pickle.UnpicklingError,  # torch refuses a name or an operation
    LookupError,  # a pickle takes more from its stack, or another entry of its memo, than there is; an unknown codec
    TypeError,  # a pickle calls what is no function, or with other arguments; a key that cannot be hashed
    AttributeError,  # a pickle gives a function of torch something else than the storage or tensor that it expects
    AssertionError,  # torch checks the references to storages by assertions
    ArithmeticError,  # OverflowError: a number that 64 bits do not hold
    MemoryError,  # a byte array or a text of more bytes than there is memory
    struct.error,  # a number in a pickle, or a header of the archive, is cut
    zipfile.BadZipFile,  # the archive's directory is damaged
    SafetensorError,
)
# What a pickle may name if it holds plain tensors and plain data. Torch's own list is longer: it has functions that
# make other kinds of tensors, and that compute.
_PLAIN_NAMES = frozenset(
    {
        *(f"torch._utils._rebuild_{kind}" for kind in ("tensor", "tensor_v2", "tensor_v3")),
        *(f"torch._utils._rebuild_{kind}" for kind in ("parameter", "parameter_with_state")),
        *("torch._tensor._rebuild_from_type_v2", "torch.nn.parameter.Parameter", "torch.Tensor"),
        *("torch.Size", "torch.device", "_codecs.encode"),
        *("collections.OrderedDict", "collections.Counter", "builtins.bytearray", "builtins.set", "builtins.complex"),
        *(str(value) for value in vars(torch).values() if isinstance(value, torch.dtype)),
        *(f"torch.{name}" for name in dir(torch) if name.endswith("Storage")),
        "torch.storage.UntypedStorage",
    }
)
_PLAIN_ADVICE = "save the weights as plain tensors"
# torch.save writes the values of XLA's tensors into the pickle itself, as a text of numpy. Before that, to a CPU.
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
_AS_NUMPY = (b"_rebuild_device_tensor_from_numpy", b"_rebuild_xla_tensor")
_MOST_COMPARISONS = 10**7  # torch goes through all unknown names each time that it meets one; this takes two seconds
_BEFORE_FIRST_VALUES = 2**12  # bytes of a pickle, that the names in _AS_NUMPY are among
_STARTS_AS_ZIP = b"PK\3\4"
_NAME_LENGTHS = 26  # where the header of a part has the lengths of its name and of what follows that
_END = struct.Struct("<12xIIH")  # of an archive: the size and the place of the directory, and the length of a comment
_END_64 = struct.Struct("<4s36xQQ4s4xQ4x")  # the same, in 64 bits, and the place of that
_LONGEST_END = _END_64.size + _END.size + 2**16  # with the comment
_ORDER = b"little"  # of the bytes of a number
_PICKLES_IN_AN_OLD_FILE = 5  # of torch < 1.6: a magic number, a protocol, the system, what was saved, storages
# Limits of what is not weights. For bart-large a pickle has 0.06 MB and 15,000 operations, with optimizer states 0.2 MB
# and 63,000; the header of its model.safetensors has 0.06 MB.
_MOST_BYTES = 2**24
_BYTES_PER_OPERATION = 16  # at the least: so up to a million operations
# Of a checkpoint of this project, so up to 67 million operations: its history has 154 bytes and 32 operations for each
# record of the training, so 300,000 records have 46 MB and 9.6 million (13 s to read), and two million are read.
OWN_MOST_BYTES = 2**30
_LONGEST_NAME = 200
_LONGEST_LIST = 2**20  # entries of a setting, such as tokens that a summary may not have
_LONGEST_TEXT = 2**16  # characters of a setting, such as a prefix
_GIVE_ANOTHER = "fetch or save it again, or give another file"


def load_weights_only(
    path: Path,
    *,
    stand_in: type | None = None,
    mmap: bool = True,
    most_bytes: int = _MOST_BYTES,
    advice: str = _GIVE_ANOTHER,
) -> Any:
    """Load a file of ``torch.save`` on the CPU: tensors and plain containers.

    Args:
        path: the file.
        stand_in: a class that takes the place of every class and function in the file that is not torch's; None
            refuses such a file.
        mmap: map the tensors to the file instead of reading them, if its format allows that.
        most_bytes: bytes that the file may have beside the values of its tensors.
        advice: what to do if it cannot be read; for messages.

    Raises:
        InputError: the file cannot be read, holds anything else, or describes its tensors at excessive length.
    """
    with _refusing(path, "cannot be read", advice), path.open("rb") as file:
        is_zip = file.read(len(_STARTS_AS_ZIP)) == _STARTS_AS_ZIP
        file.seek(0)
        scan = _scan_archive(file, most_bytes) if is_zip else _scan_old_file(file, most_bytes)
    for name in sorted(scan.names & _OTHER_TENSORS.keys()):
        raise InputError(f"{path}: holds {_OTHER_TENSORS[name]}")
    unknown = sorted(scan.names - _PLAIN_NAMES)
    for name in unknown:
        if stand_in is None or name.startswith("torch."):
            raise _more_than_tensors(path, advice, f" ({printable(name)})")
    if len(unknown) * scan.uses > _MOST_COMPARISONS:
        raise _more_than_tensors(path, advice, f" ({len(unknown):,} classes and functions, {scan.uses:,} times)")
    # Torch refuses modules that it forbids by name (os, sys), whatever is in their place here.
    replaced = torch.serialization.safe_globals([(stand_in, name) for name in unknown if stand_in is not None])
    with _refusing(path, "cannot be read", advice), replaced:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and is_zip)


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
        raise _more_than_tensors(path, advice) from error  # torch's message advises to run what is in the file
    except _RAISED as error:
        raise InputError(f"{path}: {problem} ({first_line(error)}); {advice}") from error


def _more_than_tensors(path: Path, advice: str, found: str = "") -> InputError:
    """Return the error about a pickle that holds other objects."""
    return InputError(f"{path}: holds more than tensors, or is damaged; nothing of it was run{found}: {advice}")


def plain_tensors(stored: Any, path: Path) -> dict[str, Tensor]:
    """Return a state dict of a file with its tensors detached, if they are plain ones that lie in the file.

    Raises:
        InputError: ``stored`` is no dict, a name is no printable text, a value is no tensor or another kind of tensor,
            or has more elements than are stored, such as an expanded one.
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
        # An attribute of the name of a method would be called in its place: what is detached has no attributes.
        plain = Tensor.detach(tensor) if type(tensor) in (Tensor, torch.nn.Parameter) else tensor
        _check_plain(plain, name, path, file_bytes)
        tensors[name] = plain
    return tensors


def _check_plain(tensor: Tensor, name: str, path: Path, file_bytes: int) -> None:
    """Raise InputError if a tensor is not a plain one that lies in the file."""
    other = None
    if tensor.layout != torch.strided:
        other = "sparse"
    elif tensor.is_quantized:
        other = "quantized"
    elif tensor.is_nested:
        other = "nested"
    elif tensor.device.type != "cpu" or type(tensor) is not Tensor:
        other = f"{type(tensor).__name__} ({tensor.device.type})"
    if other is not None:
        raise InputError(f"{path}: {name} is a {other} tensor; save the weights as plain tensors")
    stored_bytes = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > min(stored_bytes, file_bytes):
        stored = min(stored_bytes, file_bytes) // tensor.element_size()
        shape = printable(str(tuple(tensor.shape)))
        raise InputError(
            f"{path}: {name} has the shape {shape}, but only {stored:,} values are stored; save it with all its values"
        )


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


def _scan_archive(file: BinaryIO, most_bytes: int) -> PickleScan:
    """Follow the pickle in a zip archive. Raises ValueError, and what zipfile and a scan raise."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
    _check_directory(file)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("a part of it is compressed, and torch compresses nothing")
    if any(member.filename != member.orig_filename for member in members):
        raise ValueError("the name of a part of it is cut by a zero")
    if any(
        _is_part(member, "byteorder") and _beginning(file, member, len(_ORDER) + 1) != _ORDER for member in members
    ):
        raise ValueError("its numbers are those of a big-endian machine")
    pickles = [member for member in members if _is_part(member, "data.pkl")]
    if len(pickles) != 1:
        raise ValueError(f"it has {len(pickles)} parts data.pkl, not one")
    if pickles[0].file_size <= most_bytes:
        scan = PickleScan(_beginning(file, pickles[0], most_bytes), most_bytes // _BYTES_PER_OPERATION)
        scan.follow()
        return scan
    start = _beginning(file, pickles[0], _BEFORE_FIRST_VALUES)
    if any(name in start for name in _AS_NUMPY):
        scan = PickleScan(start, 0)
        scan.names.add(f"torch._utils.{_AS_NUMPY[0].decode()}")
        return scan
    raise ValueError(f"its part data.pkl has {pickles[0].file_size:,} bytes, more than {most_bytes:,}")


def _is_part(member: zipfile.ZipInfo, name: str) -> bool:
    return member.filename.lower().endswith(f"/{name}")  # torch ignores case


def _beginning(file: BinaryIO, member: zipfile.ZipInfo, most_bytes: int) -> bytes:
    """Return the first bytes of a part. Not by zipfile, which compares a checksum that torch may have left out."""
    file.seek(member.header_offset + _NAME_LENGTHS)
    file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
    return file.read(min(member.file_size, most_bytes))


def _check_directory(file: BinaryIO) -> None:
    """Raise ValueError unless an archive's directory lies right before its end, where all readers look for it.

    After the end there is only a comment, as this project's checkpoints have it for their checksum.
    """
    file.seek(0, os.SEEK_END)
    file_bytes = file.tell()
    file.seek(max(0, file_bytes - _LONGEST_END))
    tail = file.read()
    position = tail.rindex(b"PK\5\6", 0, len(tail) - _END.size + 4)  # readers take the last one
    size, start, comment_length = _END.unpack_from(tail, position)
    in_place = position + _END.size + comment_length == len(tail)
    if position >= _END_64.size:
        signature, large_size, large_start, locator, end_64 = _END_64.unpack_from(tail, position - _END_64.size)
        if locator == b"PK\6\7":  # the sizes have 64 bits, as torch always writes them
            size, start, position = large_size, large_start, position - _END_64.size
            in_place = in_place and signature == b"PK\6\6" and end_64 == file_bytes - len(tail) + position
    if not in_place or start + size != file_bytes - len(tail) + position:
        raise ValueError("its directory is not at its end")


def _scan_old_file(file: BinaryIO, most_bytes: int) -> PickleScan:
    """Follow the pickles of a file of torch < 1.6. Raises what a scan raises."""
    scan = PickleScan(file.read(most_bytes), most_bytes // _BYTES_PER_OPERATION)
    for _ in range(_PICKLES_IN_AN_OLD_FILE - 1):
        scan.follow()
    scan.look_up(scan.follow())  # the last is a list of the keys of storages
    return scan


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or the name of its class if it says nothing by itself."""
    text = str(error).strip()
    if not text or isinstance(error, (LookupError, AssertionError)):
        text = f"{type(error).__name__} {text}".strip()
    return printable(text.splitlines()[0])
