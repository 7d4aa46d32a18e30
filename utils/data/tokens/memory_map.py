"""Token ids in files: written as a stream, read by mapping them into memory.

A folder holds the tokens of one or several stores, one text after another, the places where each text begins, and a
header with the sizes of the files, the checksums of the tokens and one of its own.
"""

import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from .token_array import TokenStore

_HEADER = "header.json"


class TokenWriter:
    """Appends the tokens of texts to a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lengths = [0]
        self._crc = 0

    def append(self, texts: list[np.ndarray]) -> None:
        """The texts must all be of the same type of integers."""
        content = np.concatenate(texts).tobytes()
        self._crc = zlib.crc32(content, self._crc)
        self._lengths += map(len, texts)
        self._file.write(content)

    def offsets(self) -> np.ndarray:
        """Where each text begins, and where the last one ends."""
        return np.cumsum(self._lengths, dtype=np.int64)

    def checksum(self) -> int:
        """The number that TokenStore.checksum computes."""
        return zlib.crc32(self.offsets().tobytes(), self._crc)


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write ``<name>.npy`` for each, down to the disk."""
    for name, array in arrays.items():
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, array)
            sync(file)


def write_header(folder: Path, header: dict[str, Any]) -> None:
    """Write the header, last of all, with the sizes of the files that are there."""
    header = {**header, "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())}}
    content = json.dumps(header, sort_keys=True)
    with open(folder / _HEADER, "wb") as file:
        file.write(json.dumps({"header": header, "checksum": zlib.crc32(content.encode())}).encode())
        sync(file)


def read_header(folder: Path, file_format: int) -> dict[str, Any] | None:
    """None where there is none, or one that is damaged or of another format."""
    try:
        stored = json.loads((folder / _HEADER).read_bytes())
        header, checksum = stored["header"], stored["checksum"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = zlib.crc32(json.dumps(header, sort_keys=True).encode()) == checksum and header["format"] == file_format
    return header if sound else None


def delete_outdated(place: Path, pattern: str, file_format: int, digests: Sequence[str]) -> None:
    """Delete the folders of that name whose header does not say that they were made from these texts."""
    for folder in place.glob(pattern):
        header = read_header(folder, file_format)
        if header is None or header["digests"] != list(digests):
            shutil.rmtree(folder, ignore_errors=True)


def is_complete(folder: Path, header: dict[str, Any]) -> bool:
    """Whether every file has the size that it was written with. Raises OSError where one is missing."""
    return all((folder / name).stat().st_size == size for name, size in header["bytes"].items())


def open_store(folder: Path, name: str, header: dict[str, Any]) -> TokenStore:
    """Map ``<name>.tokens``. Raises OSError."""
    # A plain array that reads from the file: slices of a memmap are slow to make.
    tokens = np.asarray(np.memmap(folder / f"{name}.tokens", header["type"], mode="r"))
    return TokenStore(tokens, np.load(folder / f"{name}.offsets.npy"), header["checksums"][name])


def sync(file: IO[bytes]) -> None:
    """Write a file down to the disk."""
    file.flush()
    os.fsync(file.fileno())
