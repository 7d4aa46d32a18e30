"""The files that hold the tokens of a split: written as a stream, read by mapping them into memory.

A folder has the tokens of each side one after another, the places where each text begins, a hash of each text, the line
of each pair, and a header with how much was cut away, the sizes of the files, the checksums of the tokens and its own.
"""

import json
import os
import sys
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from utils.distributed import process_rank
from utils.pairs import SplitFiles, complete_pairs
from utils.same_texts import text_hashes
from utils.token_store import TokenStore, encode_texts, in_calls, token_type
from utils.truncation import Truncation, TruncationMeter

FORMAT = 2  # of the files; another one makes what is there unusable
_HEADER = "header.json"
_SIDES = ("source", "target")


@dataclass(frozen=True)
class TokenLimits:
    """What decides about the tokens, beside the texts and the tokenizer."""

    prefix: str  # before every text of both sides, as in the reference
    max_source_length: int  # tokens
    max_target_length: int
    examples: int = -1  # the first so many pairs, -1 for all


@dataclass
class TextFacts:
    """What is known of the whole texts of one side, of which the tokens may hold a part."""

    hashes: np.ndarray  # uint64, of each text
    truncation: Truncation


@dataclass
class PreparedPairs:
    """The tokens of the pairs of a split that have both texts."""

    sources: TokenStore
    targets: TokenStore
    source_facts: TextFacts
    target_facts: TextFacts
    lines: np.ndarray  # int64, the line that each pair stands on, from 0
    left_out: int  # pairs with an empty text among and before these


def write_prepared(folder: Path, files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> None:
    """Compute the tokens of a split, a portion at a time, and write them into an empty folder.

    Raises InputError where no pair has both texts or the files of the split change meanwhile.
    """
    lines: list[int] = []
    with (
        open(folder / "source.tokens", "wb") as source_file,
        open(folder / "target.tokens", "wb") as target_file,
        _progress(files) as progress,
    ):
        sides = [
            _Writer(source_file, tokenizer, limits.max_source_length, limits.prefix),
            _Writer(target_file, tokenizer, limits.max_target_length, limits.prefix),
        ]
        for portion in in_calls(complete_pairs(files, limits.examples), lambda pair: len(pair[1]) + len(pair[2])):
            lines += [line for line, _, _ in portion]
            for side, texts in zip(sides, ([pair[1] for pair in portion], [pair[2] for pair in portion]), strict=True):
                side.append(texts)
            progress.update(lines[-1] + 1 - progress.n)
        _sync(source_file)
        _sync(target_file)
    if not lines:
        raise InputError(f"{files.name}: every pair has an empty source or target; there is nothing to learn")
    arrays = {"lines": np.array(lines, dtype=np.int64)}
    for side, writer in zip(_SIDES, sides, strict=True):
        arrays |= {f"{side}.offsets": writer.offsets(), f"{side}.hashes": writer.hashes()}
    for array_name, array in arrays.items():
        with open(folder / f"{array_name}.npy", "wb") as file:
            np.save(file, array)
            _sync(file)
    files.source.check_unchanged()
    files.target.check_unchanged()
    to_the_end = limits.examples < 0 or len(lines) < limits.examples
    header = {
        "format": FORMAT,
        "digests": [files.source.digest, files.target.digest],
        "type": token_type(tokenizer).str,
        "left_out": (files.source.lines if to_the_end else lines[-1] + 1) - len(lines),
        "truncation": {side: asdict(writer.truncation) for side, writer in zip(_SIDES, sides, strict=True)},
        "checksums": {side: writer.checksum() for side, writer in zip(_SIDES, sides, strict=True)},
        "bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
    }
    _write_header(folder, header)


class _Writer:
    """Appends the tokens of one side to a file, and keeps what the report on the data needs of the texts."""

    def __init__(self, file: IO[bytes], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> None:
        self._file = file
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._prefix = prefix
        self._meter = TruncationMeter(tokenizer, max_length, prefix)
        self._hashes: list[np.ndarray] = []
        self._lengths = [0]
        self._crc = 0

    def append(self, texts: list[str]) -> None:
        ids = encode_texts(texts, self._tokenizer, self._max_length, self._prefix)
        content = np.concatenate(ids).tobytes()
        self._crc = zlib.crc32(content, self._crc)
        self._lengths += map(len, ids)
        self._file.write(content)
        texts_in_bytes = [text.encode() for text in texts]
        self._meter.add(texts_in_bytes, ids)
        self._hashes.append(text_hashes(texts_in_bytes))

    @property
    def truncation(self) -> Truncation:
        return self._meter.counts

    def hashes(self) -> np.ndarray:
        return np.concatenate(self._hashes)

    def offsets(self) -> np.ndarray:
        return np.cumsum(self._lengths, dtype=np.int64)

    def checksum(self) -> int:
        """The number that TokenStore.checksum computes."""
        return zlib.crc32(self.offsets().tobytes(), self._crc)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_header(folder: Path, header: dict[str, Any]) -> None:
    content = json.dumps(header, sort_keys=True)
    with open(folder / _HEADER, "wb") as file:
        file.write(json.dumps({"header": header, "checksum": zlib.crc32(content.encode())}).encode())
        _sync(file)


def read_header(folder: Path) -> dict[str, Any] | None:
    """None where there is none, or one that is damaged or of another format."""
    try:
        stored = json.loads((folder / _HEADER).read_bytes())
        header, checksum = stored["header"], stored["checksum"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    sound = zlib.crc32(json.dumps(header, sort_keys=True).encode()) == checksum and header["format"] == FORMAT
    return header if sound else None


def open_prepared(folder: Path) -> PreparedPairs | None:
    """Map the tokens; None where there are none or where a file has not the size that it was written with."""
    header = read_header(folder)
    if header is None:
        return None
    try:
        if any((folder / name).stat().st_size != size for name, size in header["bytes"].items()):
            return None
        stores = [
            TokenStore(
                # A plain array that reads from the file: slices of a memmap are slow to make.
                np.asarray(np.memmap(folder / f"{side}.tokens", header["type"], mode="r")),
                np.load(folder / f"{side}.offsets.npy"),
                header["checksums"][side],
            )
            for side in _SIDES
        ]
        facts = [
            TextFacts(np.load(folder / f"{side}.hashes.npy"), Truncation(**header["truncation"][side]))
            for side in _SIDES
        ]
        lines = np.load(folder / "lines.npy")
    except OSError:  # deleted in this moment
        return None
    return PreparedPairs(*stores, *facts, lines, header["left_out"])


def _progress(files: SplitFiles) -> tqdm:
    """A bar where it takes more than some seconds; in a log file a line now and then."""
    return tqdm(
        total=files.source.lines,
        desc=f"tokenizing {files.name}",
        unit="pair",
        delay=5,
        mininterval=0.1 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
        disable=process_rank() > 0,
    )
