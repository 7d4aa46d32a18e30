"""Keep the token ids of many texts in one array: in memory, or in files that are mapped into memory.

A folder of such files holds the arrays of one or several stores:

    <store>.tokens        the ids of one text after another, written as a stream
    <store>.offsets.npy   the position at which each text begins, and that at which the last one ends
    header.json           format, digests of the texts, type of the ids, their checksums, sizes of all files

The header is written last and has a checksum of its own: a folder with a valid header is complete.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import tokenizers
from transformers import PreTrainedTokenizerBase

from ..model_vocabulary import ModelVocabulary

_HEADER = "header.json"


@dataclass
class TokenStore:
    """Holds the token ids of many texts in one flat array: text i is ``tokens[offsets[i] : offsets[i + 1]]``."""

    tokens: np.ndarray  # uint16, or int32 for a larger vocabulary; may be a memory-mapped file
    offsets: np.ndarray  # (texts + 1,) int64
    known_checksum: int | None = None  # of tokens in a file, which then need not be read
    vocabulary: ModelVocabulary | None = None  # of the model that reads the ids; None if it knows all of them

    @classmethod
    def from_texts(cls, texts: Sequence[np.ndarray]) -> "TokenStore":
        """Join the ids of one or more texts."""
        return cls(np.concatenate(texts), np.cumsum([0, *map(len, texts)], dtype=np.int64))

    def __len__(self) -> int:
        """Count the texts."""
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """Return the ids of a text, with <unk> for those that the model does not know."""
        ids = self.tokens[self.offsets[index] : self.offsets[index + 1]]
        return ids if self.vocabulary is None else self.vocabulary.known(ids)

    def read_by(self, vocabulary: ModelVocabulary | None) -> "TokenStore":
        """Return a store of the same tokens for a model with that vocabulary; None if it knows every token."""
        return replace(self, vocabulary=vocabulary)

    def count_unknown(self) -> int:
        """Count the tokens that the model does not know, and so reads as <unk>."""
        return 0 if self.vocabulary is None else self.vocabulary.count_unknown(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """(texts,) int64, the tokens of each text."""
        return np.diff(self.offsets)

    def checksum(self) -> int:
        """Return a number that changes if a token or the length of a text does, whatever model reads them."""
        if self.known_checksum is not None:
            return self.known_checksum
        return zlib.crc32(self.offsets.tobytes(), zlib.crc32(self.tokens.tobytes()))


class TokenWriter:
    """Appends the tokens of texts to an open file, and remembers what ``TokenStore`` needs to find them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lengths = [0]
        self._crc = 0

    def append(self, texts: list[np.ndarray]) -> None:
        """Append one or more texts. All that are ever appended must have one integer type."""
        content = np.concatenate(texts).tobytes()
        self._crc = zlib.crc32(content, self._crc)
        self._lengths += map(len, texts)
        self._file.write(content)

    def offsets(self) -> np.ndarray:
        """Return ``TokenStore.offsets``: where each text begins, and where the last one ends."""
        return np.cumsum(self._lengths, dtype=np.int64)

    def checksum(self) -> int:
        """Return what ``TokenStore.checksum`` computes of the same tokens."""
        return zlib.crc32(self.offsets().tobytes(), self._crc)


def write_arrays(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write each array to ``<name>.npy``, and sync it to disk."""
    for name, array in arrays.items():
        with open(folder / f"{name}.npy", "wb") as file:
            np.save(file, array)
            sync(file)


def write_header(folder: Path, header: dict[str, Any]) -> None:
    """Write the header with the sizes of all files in the folder, so call it when they are complete."""
    header = {**header, "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())}}
    content = json.dumps(header, sort_keys=True)
    with open(folder / _HEADER, "wb") as file:
        file.write(json.dumps({"header": header, "checksum": zlib.crc32(content.encode())}).encode())
        sync(file)


def read_header(folder: Path, file_format: int) -> dict[str, Any] | None:
    """Read the header of a folder. Returns None if it is missing, damaged or of another format."""
    try:
        stored = json.loads((folder / _HEADER).read_bytes())
        header, checksum = stored["header"], stored["checksum"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    valid = zlib.crc32(json.dumps(header, sort_keys=True).encode()) == checksum and header["format"] == file_format
    return header if valid else None


def delete_outdated(place: Path, pattern: str, file_format: int, digests: Sequence[str]) -> None:
    """Delete the folders that match ``pattern`` and were made from other texts than those with these digests."""
    for folder in place.glob(pattern):
        header = read_header(folder, file_format)
        if header is None or header["digests"] != list(digests):
            shutil.rmtree(folder, ignore_errors=True)


def is_complete(folder: Path, header: dict[str, Any]) -> bool:
    """Tell whether every file has the size that the header names. Raises OSError if one is missing."""
    return all((folder / name).stat().st_size == size for name, size in header["bytes"].items())


def open_store(folder: Path, name: str, header: dict[str, Any]) -> TokenStore:
    """Map ``<name>.tokens`` into memory. Raises OSError if a file is missing."""
    # Slices of a memmap are slow to make; those of a plain array on top of it are not.
    tokens = np.asarray(np.memmap(folder / f"{name}.tokens", header["type"], mode="r"))
    return TokenStore(tokens, np.load(folder / f"{name}.offsets.npy"), header["checksums"][name])


def sync(file: IO[bytes]) -> None:
    """Flush an open file to disk."""
    file.flush()
    os.fsync(file.fileno())


def tokens_key(content: list[Any], tokenizer: PreTrainedTokenizerBase, limits: Any) -> str:
    """Name the tokens of some texts by all that they depend on.

    Args:
        content: Format of the files and digests of the texts.
        tokenizer: Makes the tokens.
        limits: A dataclass of further settings.
    """
    parts = [content, *tokenizer_state(tokenizer), asdict(limits)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def tokenizer_state(tokenizer: PreTrainedTokenizerBase) -> list[Any]:
    """Return all that decides which tokens a tokenizer makes, as JSON values."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # left by the last call
        del backend[state]
    return [backend, tokenizer.truncation_side, tokenizers.__version__]
