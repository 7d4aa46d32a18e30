"""The files that hold the tokens of a split of pairs: the stores of both sides, and the line of each pair."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from utils.pairs import SplitFiles, complete_pairs
from utils.progress import line_progress
from utils.token_files import TokenWriter, is_complete, open_store, read_header, sync, write_arrays, write_header
from utils.token_store import TokenStore, encode_texts, in_calls, token_type

FORMAT = 1  # of the files; another one makes what is there unusable
_SIDES = ("source", "target")


@dataclass(frozen=True)
class TokenLimits:
    """What decides about the tokens, beside the texts and the tokenizer."""

    prefix: str  # before every text of both sides, as in the reference
    max_source_length: int  # tokens
    max_target_length: int
    examples: int = -1  # the first so many pairs, -1 for all


@dataclass
class PreparedPairs:
    """The tokens of the pairs of a split that have both texts."""

    sources: TokenStore
    targets: TokenStore
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
        line_progress(files.source.lines, f"tokenizing {files.name}", "pair") as progress,
    ):
        sides = [TokenWriter(source_file), TokenWriter(target_file)]
        max_lengths = [limits.max_source_length, limits.max_target_length]
        for portion in in_calls(complete_pairs(files, limits.examples), lambda pair: len(pair[1]) + len(pair[2])):
            lines += [line for line, _, _ in portion]
            for side, max_length, texts in zip(sides, max_lengths, list(zip(*portion, strict=True))[1:], strict=True):
                side.append(encode_texts(texts, tokenizer, max_length, limits.prefix))
            progress.update(lines[-1] + 1 - progress.n)
        sync(source_file)
        sync(target_file)
    if not lines:
        raise InputError(f"{files.name}: every pair has an empty source or target; there is nothing to learn")
    arrays = {f"{side}.offsets": writer.offsets() for side, writer in zip(_SIDES, sides, strict=True)}
    write_arrays(folder, {**arrays, "lines": np.array(lines, dtype=np.int64)})
    files.source.check_unchanged()
    files.target.check_unchanged()
    to_the_end = limits.examples < 0 or len(lines) < limits.examples
    header = {
        "format": FORMAT,
        "digests": [files.source.digest, files.target.digest],
        "type": token_type(tokenizer).str,
        "left_out": (files.source.lines if to_the_end else lines[-1] + 1) - len(lines),
        "checksums": {side: writer.checksum() for side, writer in zip(_SIDES, sides, strict=True)},
    }
    write_header(folder, header)


def open_prepared(folder: Path) -> PreparedPairs | None:
    """Map the tokens; None where there are none or where a file has not the size that it was written with."""
    header = read_header(folder, FORMAT)
    try:
        if header is None or not is_complete(folder, header):
            return None
        sources, targets = (open_store(folder, side, header) for side in _SIDES)
        return PreparedPairs(sources, targets, np.load(folder / "lines.npy"), header["left_out"])
    except OSError:  # deleted in this moment
        return None
