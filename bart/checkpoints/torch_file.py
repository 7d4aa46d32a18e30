"""The two formats of ``torch.save``: an archive with a pickle and stored values, and what torch < 1.6 wrote."""

import struct
import zipfile
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import torch

from bart.checkpoints.pickle_reader import ForbiddenNameError, PickleReader

# How many operations a pickle may have. In those that torch writes an operation has three bytes or more on average.
_MOST_OF_A_SHORT_PICKLE = 2**20
_BYTES_OF_A_LONG_PICKLE = 2  # for each, at the least
_BYTES_OF_THE_LONGEST_PICKLE = 16
_MOST_DIRECTORY_BYTES = 2**22  # of an archive: 40,000 parts; bart-large with its optimizer has 1,500
_STARTS_AS_ZIP = b"PK\3\4"
_NAME_LENGTHS = 26  # where the header of a part has the lengths of its name and of what follows that
_ORDER = b"little"  # of the bytes of a number
# torch.save writes the values of XLA's tensors into the pickle itself, as a text of numpy. Their function comes first.
_AS_NUMPY = ("_rebuild_device_tensor_from_numpy", "_rebuild_xla_tensor")
_BEFORE_FIRST_VALUES = 2**12  # bytes
_OLD_MAGIC, _OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_torch_file(path: Path, *, mmap: bool, most_bytes: int, keep_objects: bool) -> Any:
    """Read a file of ``torch.save`` as ``PickleReader`` does; see ``load_weights_only``.

    Raises:
        ForbiddenNameError, pickle.UnpicklingError, ValueError, RuntimeError: as ``PickleReader.read``; ValueError as
            well if it is another archive than torch writes.
        OSError: the file cannot be opened, read or mapped.
        EOFError, NotImplementedError, struct.error, zipfile.BadZipFile: its archive is cut or damaged.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(_STARTS_AS_ZIP)) == _STARTS_AS_ZIP
        file.seek(0)
        if is_zip:
            return _Archive(file, path, mmap).read(most_bytes, keep_objects)
        return _OldFile(file, path).read(most_bytes, keep_objects)


class _TorchFile:
    """A file with the values of tensors, by their keys: together no more than the file has bytes."""

    def __init__(self, file: BufferedReader, path: Path) -> None:
        self._file = file
        self._file_bytes = path.stat().st_size
        self._bytes_left = self._file_bytes
        self._storages: dict[str, torch.UntypedStorage] = {}

    def _take(self, nbytes: int) -> None:
        """Count values before memory is taken for them. Raises ValueError if the file cannot have so many.

        The parts of an archive may lie over each other, and an old file may say that it has more than is there.
        """
        self._bytes_left -= nbytes
        if self._bytes_left < 0:
            raise ValueError("its tensors have more values than are stored")

    def _fill(self, storage: torch.UntypedStorage) -> None:
        """Read the values that come next in the file."""
        values = torch.empty(0, dtype=torch.uint8).set_(storage)  # as bytes: numpy has fewer types than torch
        if self._file.readinto(values.numpy().data) < len(values):
            raise EOFError("the values of a tensor are cut")


class _Archive(_TorchFile):
    """A zip archive that torch wrote."""

    def __init__(self, file: BufferedReader, path: Path, mmap: bool) -> None:
        super().__init__(file, path)
        with _DirectoryFile(FileIO(path)) as directory, zipfile.ZipFile(directory) as archive:
            self._members = {member.filename: member for member in archive.infolist()}
        self._mapped = torch.UntypedStorage.from_file(str(path), False, self._file_bytes) if mmap else None

    def read(self, most_bytes: int, keep_objects: bool) -> Any:
        """Return what the pickle makes."""
        if any(member.compress_type != zipfile.ZIP_STORED for member in self._members.values()):
            raise ValueError("a part of it is compressed, and torch compresses nothing")
        pickles = [name for name in self._members if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it has {len(pickles)} parts data.pkl, not one")
        self._folder = pickles[0].removesuffix("data.pkl")
        order = self._members.get(f"{self._folder}byteorder")
        if order is not None and self._content(order, len(_ORDER) + 1) != _ORDER:
            raise ValueError("its numbers are not those of a little-endian machine")
        size = self._members[pickles[0]].file_size
        if size > most_bytes:
            start = self._content(self._members[pickles[0]], _BEFORE_FIRST_VALUES)
            for name in _AS_NUMPY:
                if name.encode() in start:
                    raise ForbiddenNameError(f"torch._utils.{name}")
            raise ValueError(f"its part data.pkl has {size:,} bytes, more than {most_bytes:,}")
        content = self._content(self._members[pickles[0]], most_bytes)
        return PickleReader(content, _most_work(content, most_bytes), self._open, keep_objects).read()

    def _open(self, key: str, _size: int, _dtype: torch.dtype) -> torch.UntypedStorage:
        """Return the values in the part of this key."""
        if key not in self._storages:
            member = self._members.get(f"{self._folder}data/{key}")
            if member is None:
                raise ValueError("the values of a tensor are not stored")
            self._take(member.file_size)
            start = self._seek(member)
            if self._mapped is not None:
                self._storages[key] = self._mapped[start : start + member.file_size]
            else:
                self._storages[key] = _new_storage(member.file_size)
                self._fill(self._storages[key])
        return self._storages[key]

    def _content(self, member: zipfile.ZipInfo, most_bytes: int) -> bytes:
        """Return the first bytes of a part. Not by zipfile, which compares a checksum that torch may have left out."""
        self._seek(member)
        return self._file.read(min(member.file_size, most_bytes))

    def _seek(self, member: zipfile.ZipInfo) -> int:
        """Go to the content of a part, and return where that is. Raises ValueError if it is not in the file."""
        self._file.seek(member.header_offset + _NAME_LENGTHS)
        start = self._file.tell() + 4 + sum(struct.unpack("<HH", self._file.read(4)))
        if start + member.file_size > self._file_bytes:
            raise ValueError("a part of it is cut")
        return self._file.seek(start)


class _OldFile(_TorchFile):
    """A file of torch < 1.6: pickles (who wrote it, what was saved, the keys of the values), and the values."""

    def __init__(self, file: BufferedReader, path: Path) -> None:
        super().__init__(file, path)
        self._sizes: dict[str, int] = {}  # how many values there are of a key

    def read(self, most_bytes: int, keep_objects: bool) -> Any:
        """Return what was saved."""
        content = self._file.read(most_bytes)
        reader = PickleReader(content, _most_work(content, most_bytes), self._open, keep_objects)
        for expected in (_OLD_MAGIC, _OLD_VERSION):
            number = reader.read()
            if not isinstance(number, int) or number != expected:
                raise ValueError("it is no file of torch.save")
        system = reader.read()
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("its numbers are not those of a little-endian machine")
        value, keys = reader.read(), reader.read()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("its last pickle is no list of keys")
        self._file.seek(reader.position)
        for key in keys:
            if struct.unpack("<q", self._file.read(8)) != (self._sizes.pop(key, None),):
                raise ValueError("its tensors have other sizes than are stored")
            self._fill(self._storages[key])
        if self._sizes:
            raise EOFError("the values of a tensor are not stored")
        return value

    def _open(self, key: str, size: int, dtype: torch.dtype) -> torch.UntypedStorage:
        """Return where the values of this key will be: they are stored behind the pickles."""
        if key not in self._storages:
            self._take(size * dtype.itemsize)
            self._storages[key] = _new_storage(size * dtype.itemsize)
            self._sizes[key] = size
        return self._storages[key]


class _DirectoryFile(BufferedReader):
    """A file for zipfile, which reads a directory at once, and makes an object for each part."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes. Raises ValueError if they are too many."""
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise ValueError(f"its directory has {size:,} bytes, more than {_MOST_DIRECTORY_BYTES:,}")
        return super().read(size)


def _most_work(content: bytes, most_bytes: int) -> int:
    """Return how many operations the pickles in this content may have; the longest content would have most_bytes."""
    allowed = max(_MOST_OF_A_SHORT_PICKLE, len(content) // _BYTES_OF_A_LONG_PICKLE)
    return min(allowed, most_bytes // _BYTES_OF_THE_LONGEST_PICKLE)


def _new_storage(nbytes: int) -> torch.UntypedStorage:
    return torch.empty(nbytes, dtype=torch.uint8).untyped_storage()
