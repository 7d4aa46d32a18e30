"""The tokens of a split, computed once and kept in memory-mapped files.

They lie in ``<data folder>/.prepared/<split>-<key>`` (see utils/io/artifact_cache.py). The key stands for the content
of the texts, the tokenizer and the lengths, so what is found under it is right.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError

from ...io.artifact_cache import get_or_create, places_of
from ...runtime.progress import line_progress
from ..splits import SplitFiles, complete_pairs
from .duplicates import text_hashes
from .encode import encode_texts, in_calls, token_type
from .token_array import (
    TokenStore,
    TokenWriter,
    delete_outdated,
    is_complete,
    open_store,
    read_header,
    sync,
    tokens_key,
    write_arrays,
    write_header,
)
from .truncation import Truncation, TruncationMeter

FORMAT = 2  # of the files; another one makes what is there unusable
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


def prepare(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> PreparedPairs:
    """Find the tokens of a split, or compute them first, one process at a time.

    Raises InputError where no pair has both texts, where the files change meanwhile or where nothing can be written.
    """
    digests = [files.source.digest, files.target.digest]
    return get_or_create(
        places_of(files.source.path.parent),
        f"{files.split}-{tokens_key([FORMAT, *digests], tokenizer, limits)}",
        "tokens",
        open_prepared,
        lambda folder: write_prepared(folder, files, tokenizer, limits),
        lambda place: delete_outdated(place, f"{files.split}-*", FORMAT, digests),
    )


def write_prepared(folder: Path, files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> None:
    """Compute the tokens of a split, a portion at a time, and write them into an empty folder.

    Raises InputError where no pair has both texts or the files of the split change meanwhile.
    """
    lines: list[int] = []
    with (
        open(folder / "source.tokens", "wb") as source_file,
        open(folder / "target.tokens", "wb") as target_file,
        line_progress(files.source.lines, f"tokenizing {files.name}", "pair") as progress,
    ):
        sides = [
            _SideWriter(source_file, tokenizer, limits.max_source_length, limits.prefix),
            _SideWriter(target_file, tokenizer, limits.max_target_length, limits.prefix),
        ]
        for portion in in_calls(complete_pairs(files, limits.examples), lambda pair: len(pair[1]) + len(pair[2])):
            lines += [line for line, _, _ in portion]
            for side, texts in zip(sides, ([pair[1] for pair in portion], [pair[2] for pair in portion]), strict=True):
                side.append(texts)
            progress.update(lines[-1] + 1 - progress.n)
        sync(source_file)
        sync(target_file)
    if not lines:
        raise InputError(f"{files.name}: every pair has an empty source or target; there is nothing to learn")
    arrays = {"lines": np.array(lines, dtype=np.int64)}
    for side, writer in zip(_SIDES, sides, strict=True):
        arrays |= {f"{side}.offsets": writer.tokens.offsets(), f"{side}.hashes": writer.hashes()}
    write_arrays(folder, arrays)
    files.source.check_unchanged()
    files.target.check_unchanged()
    to_the_end = limits.examples < 0 or len(lines) < limits.examples
    header = {
        "format": FORMAT,
        "digests": [files.source.digest, files.target.digest],
        "type": token_type(tokenizer).str,
        "left_out": (files.source.lines if to_the_end else lines[-1] + 1) - len(lines),
        "truncation": {side: asdict(writer.truncation) for side, writer in zip(_SIDES, sides, strict=True)},
        "checksums": {side: writer.tokens.checksum() for side, writer in zip(_SIDES, sides, strict=True)},
    }
    write_header(folder, header)


class _SideWriter:
    """Writes the tokens of one side, and keeps what the report on the data needs of the texts."""

    def __init__(self, file: IO[bytes], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> None:
        self.tokens = TokenWriter(file)
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._prefix = prefix
        self._meter = TruncationMeter(tokenizer, max_length, prefix)
        self._hashes: list[np.ndarray] = []

    def append(self, texts: list[str]) -> None:
        ids = encode_texts(texts, self._tokenizer, self._max_length, self._prefix)
        self.tokens.append(ids)
        texts_in_bytes = [text.encode() for text in texts]
        self._meter.add(texts_in_bytes, ids)
        self._hashes.append(text_hashes(texts_in_bytes))

    @property
    def truncation(self) -> Truncation:
        return self._meter.counts

    def hashes(self) -> np.ndarray:
        return np.concatenate(self._hashes)


def open_prepared(folder: Path) -> PreparedPairs | None:
    """Map the tokens; None where there are none or where a file has not the size that it was written with."""
    header = read_header(folder, FORMAT)
    try:
        if header is None or not is_complete(folder, header):
            return None
        sources, targets = (open_store(folder, side, header) for side in _SIDES)
        facts = [
            TextFacts(np.load(folder / f"{side}.hashes.npy"), Truncation(**header["truncation"][side]))
            for side in _SIDES
        ]
        return PreparedPairs(sources, targets, *facts, np.load(folder / "lines.npy"), header["left_out"])
    except OSError:  # deleted in this moment
        return None
