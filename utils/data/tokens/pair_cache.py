"""Tokenize the pairs of a split once, and keep the tokens in memory-mapped files.

The files lie in ``<data folder>/.prepared/<split>-<key>`` (see utils/io/artifact_cache.py). The key is computed from
the content of the texts, the tokenizer and the limits, so files that are found under it are up to date.
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
from .encode import encode_texts, portions, token_type
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

FORMAT = 2  # of the files; raise it to have them made anew
_SIDES = ("source", "target")


@dataclass(frozen=True)
class TokenLimits:
    """Settings that the tokens depend on, beside the texts and the tokenizer."""

    prefix: str  # before every text of both sides, as in the reference
    max_source_length: int  # most tokens of a source, <s> and </s> included
    max_target_length: int
    examples: int = -1  # how many pairs to keep, from the first on; -1 for all


@dataclass
class TextFacts:
    """Facts about the full texts of one side, of which the tokens may hold only a part."""

    hashes: np.ndarray  # (pairs,) uint64, of each text
    truncation: Truncation


@dataclass
class PreparedPairs:
    """Holds the tokens of those pairs of a split that have both texts."""

    sources: TokenStore
    targets: TokenStore
    source_facts: TextFacts
    target_facts: TextFacts
    lines: np.ndarray  # (pairs,) int64, the line of each, from 0
    left_out: int  # pairs with an empty text, up to the last pair that is kept, or to the end if all are


def prepare_pairs(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> PreparedPairs:
    """Open the tokens of a split; compute them first if they are not there, in one process at a time.

    Raises InputError if no pair has both texts, if the files change meanwhile or if nothing can be written.
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
    """Compute the tokens of a split, portion by portion, and write them into an empty folder.

    Raises InputError if no pair has both texts or if the files of the split change meanwhile.
    """
    # Write the tokens of both sides as they are computed.
    lines: list[int] = []
    with (
        open(folder / "source.tokens", "wb") as source_file,
        open(folder / "target.tokens", "wb") as target_file,
        line_progress(files.source.lines, f"tokenizing {files.name}", "pair") as progress,
    ):
        writers = {
            "source": _SideWriter(source_file, tokenizer, limits.max_source_length, limits.prefix),
            "target": _SideWriter(target_file, tokenizer, limits.max_target_length, limits.prefix),
        }
        for portion in portions(complete_pairs(files, limits.examples), lambda pair: len(pair[1]) + len(pair[2])):
            lines += [line for line, _, _ in portion]
            writers["source"].append([source for _, source, _ in portion])
            writers["target"].append([target for _, _, target in portion])
            progress.update(lines[-1] + 1 - progress.n)
        sync(source_file)
        sync(target_file)
    if not lines:
        raise InputError(f"{files.name}: every pair has an empty source or target; there is nothing to learn")

    # Write what is known only now.
    facts = {side: writer.facts() for side, writer in writers.items()}
    arrays = {"lines": np.array(lines, dtype=np.int64)}
    arrays |= {f"{side}.offsets": writer.tokens.offsets() for side, writer in writers.items()}
    arrays |= {f"{side}.hashes": facts[side].hashes for side in writers}
    write_arrays(folder, arrays)

    # Write the header, which makes the folder valid, if the texts are still those that were tokenized.
    files.source.check_unchanged()
    files.target.check_unchanged()
    to_the_end = limits.examples < 0 or len(lines) < limits.examples
    header = {
        "format": FORMAT,
        "digests": [files.source.digest, files.target.digest],
        "type": token_type(tokenizer).str,
        "left_out": (files.source.lines if to_the_end else lines[-1] + 1) - len(lines),
        "truncation": {side: asdict(facts[side].truncation) for side in writers},
        "checksums": {side: writer.tokens.checksum() for side, writer in writers.items()},
    }
    write_header(folder, header)


class _SideWriter:
    """Writes the tokens of one side, and gathers the facts about its texts that the report on the data needs."""

    def __init__(self, file: IO[bytes], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> None:
        self.tokens = TokenWriter(file)
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._prefix = prefix
        self._meter = TruncationMeter(tokenizer, max_length, prefix)
        self._hashes: list[np.ndarray] = []

    def append(self, texts: list[str]) -> None:
        """Tokenize some texts, and write their tokens."""
        ids = encode_texts(texts, self._tokenizer, self._max_length, self._prefix)
        self.tokens.append(ids)
        texts_in_bytes = [text.encode() for text in texts]
        self._meter.add(texts_in_bytes, ids)
        self._hashes.append(text_hashes(texts_in_bytes))

    def facts(self) -> TextFacts:
        """Return the facts about all texts that were appended."""
        return TextFacts(np.concatenate(self._hashes), self._meter.counts)


def open_prepared(folder: Path) -> PreparedPairs | None:
    """Map the tokens of a folder into memory. Returns None if it is missing, incomplete or of another format."""
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
    except OSError:  # deleted at this moment
        return None
