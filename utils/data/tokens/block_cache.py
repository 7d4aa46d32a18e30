"""Tokenize documents and cut them into blocks for pre-training, once; keep the blocks in memory-mapped files.

A file of documents has one paragraph a line; an empty line ends a document. A block is as many full lines of one
document as fit; a line that is longer than a block is cut.

The files lie in ``<data folder>/.prepared/blocks-<split>-<key>`` (see utils/io/artifact_cache.py). The key is computed
from the content of the documents, the tokenizer and the limits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError

from ...io.artifact_cache import get_or_create, places_of
from ...runtime.progress import line_progress
from ..line_files import LineFile, iterate_lines
from .encode import encode_uncut_texts, portions, token_type
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

FORMAT = 1  # of the files; raise it to have them made anew
_STORE = "block"
_SPECIAL_TOKENS = 2  # <s> and </s> around each block
_BLOCKS_AT_ONCE = 10_000


@dataclass(frozen=True)
class BlockLimits:
    """Settings that the blocks depend on, beside the documents and the tokenizer."""

    prefix: str  # before every line
    max_length: int  # most tokens of a block, <s> and </s> included
    blocks: int = -1  # how many to keep, from the first on; -1 for all


@dataclass
class PreparedBlocks:
    """Holds blocks <s> ... </s>."""

    texts: TokenStore
    lines: np.ndarray  # (blocks,) int64, the line that each begins on, from 0


def prepare_blocks(file: LineFile, tokenizer: PreTrainedTokenizerBase, limits: BlockLimits) -> PreparedBlocks:
    """Open the blocks of a file of documents; compute them first if they are not there, in one process at a time.

    Raises InputError if every line is empty, if the file changes meanwhile or if nothing can be written.
    """
    split = file.path.stem
    return get_or_create(
        places_of(file.path.parent),
        f"blocks-{split}-{tokens_key([FORMAT, file.digest], tokenizer, limits)}",
        "blocks",
        open_blocks,
        lambda folder: write_blocks(folder, file, tokenizer, limits),
        lambda place: delete_outdated(place, f"blocks-{split}-*", FORMAT, [file.digest]),
    )


def write_blocks(folder: Path, file: LineFile, tokenizer: PreTrainedTokenizerBase, limits: BlockLimits) -> None:
    """Compute the blocks of a file, portion by portion, and write them into an empty folder.

    Raises InputError if every line is empty or if the file changes meanwhile.
    """
    lines: list[int] = []
    dtype = token_type(tokenizer)
    bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id

    # Write the blocks as they are cut.
    with open(folder / f"{_STORE}.tokens", "wb") as tokens_file:
        writer = TokenWriter(tokens_file)
        blocks = cut_blocks(_token_lines(file, tokenizer, limits.prefix), limits.max_length)
        wanted = islice(blocks, limits.blocks if limits.blocks >= 0 else None)
        while portion := list(islice(wanted, _BLOCKS_AT_ONCE)):
            lines += [line for line, _ in portion]
            writer.append([np.array([bos, *block, eos], dtype=dtype) for _, block in portion])
        sync(tokens_file)
    if not lines:
        raise InputError(f"{file.path}: every line is empty; there is nothing to learn")

    # Write what is known only now, the header last.
    write_arrays(folder, {f"{_STORE}.offsets": writer.offsets(), "lines": np.array(lines, dtype=np.int64)})
    file.check_unchanged()
    write_header(
        folder,
        {"format": FORMAT, "digests": [file.digest], "type": dtype.str, "checksums": {_STORE: writer.checksum()}},
    )


def open_blocks(folder: Path) -> PreparedBlocks | None:
    """Map the blocks of a folder into memory. Returns None if it is missing, incomplete or of another format."""
    header = read_header(folder, FORMAT)
    try:
        if header is None or not is_complete(folder, header):
            return None
        return PreparedBlocks(open_store(folder, _STORE, header), np.load(folder / "lines.npy"))
    except OSError:  # deleted at this moment
        return None


def _token_lines(file: LineFile, tokenizer: PreTrainedTokenizerBase, prefix: str) -> Iterator[np.ndarray]:
    """Yield the tokens of each line; an empty line has none."""
    with line_progress(file.lines, f"tokenizing {file.path}", "line") as progress:
        for portion in portions(iterate_lines(file.path), len):
            yield from encode_uncut_texts([prefix + line if line.strip() else "" for line in portion], tokenizer)
            progress.update(len(portion))


def cut_blocks(lines: Iterable[Sequence[int] | np.ndarray], length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Cut lines of documents into blocks.

    Args:
        lines: The tokens of each line; an empty line, which ends a document, has none.
        length: Most tokens of a block, <s> and </s> included.

    Yields:
        The line that a block begins on, from 0, and its tokens without <s> and </s>.
    """
    room = length - _SPECIAL_TOKENS
    block: list[np.ndarray] = []
    first = filled = 0
    for number, line in enumerate(lines):
        # End the block before an empty line, or before one that does not fit.
        if filled and (len(line) == 0 or filled + len(line) > room):
            yield first, np.concatenate(block)
            block, filled = [], 0

        # Begin or extend a block by the line. Of a line that is longer than a block, all but the rest are blocks.
        pieces = [np.asarray(line[start : start + room]) for start in range(0, len(line), room)]
        for piece in pieces[:-1]:
            yield number, piece
        if pieces:
            first = first if filled else number
            block.append(pieces[-1])
            filled += len(pieces[-1])
    if filled:
        yield first, np.concatenate(block)
