"""Token ids of many texts in one array, and the folders of files that such arrays are kept in.

Token files are written as a stream and read by mapping them into memory. A folder holds the tokens of one or several
stores, one text after another, the places where each text begins, and a header with the sizes of the files, the
checksums of the tokens and one of its own.
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
    """Token ids of many texts in one flat array: text i is ``tokens[offsets[i] : offsets[i + 1]]``."""

    tokens: np.ndarray  # uint16, or int32 where the vocabulary is larger; may lie in a memory-mapped file
    offsets: np.ndarray  # int64, one more than there are texts
    known_checksum: int | None = None  # of tokens in a file, so that it need not be read
    vocabulary: ModelVocabulary | None = None  # of the model that reads them; None: it knows every token

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        ids = self.tokens[self.offsets[index] : self.offsets[index + 1]]
        return ids if self.vocabulary is None else self.vocabulary.known(ids)

    def read_by(self, vocabulary: ModelVocabulary | None) -> "TokenStore":
        """The same tokens for a model with that vocabulary, if it is smaller than the tokenizer's."""
        return replace(self, vocabulary=vocabulary)

    def count_unknown(self) -> int:
        """Count the tokens that the model reads as <unk> because it does not know them."""
        return 0 if self.vocabulary is None else self.vocabulary.count_unknown(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def checksum(self) -> int:
        """A number that differs when the tokens do, whatever model reads them."""
        if self.known_checksum is not None:
            return self.known_checksum
        return zlib.crc32(self.offsets.tobytes(), zlib.crc32(self.tokens.tobytes()))


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


def tokens_key(content: list[Any], tokenizer: PreTrainedTokenizerBase, limits: Any) -> str:
    """A name for the tokens that a tokenizer makes of a ``content``, given by its digests, with ``limits``."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # of the last call
        del backend[state]
    parts = [content, backend, tokenizer.truncation_side, tokenizers.__version__, asdict(limits)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
