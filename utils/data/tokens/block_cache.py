"""The blocks of a split of documents, for pre-training: tokenized and cut once, kept in memory-mapped files.

A file of documents has one paragraph a line; empty lines end documents. A block is as many whole lines of one document
as fit; a line that is longer than a block is cut.

As the tokens of pairs (see utils/data/tokens/pair_cache.py), they lie in
``<data folder>/.prepared/blocks-<split>-<key>``.
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
from .encode import encode_whole_texts, in_calls, token_type
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

FORMAT = 1  # of the files; another one makes what is there unusable
_STORE = "block"
_SPECIAL_TOKENS = 2  # <s> and </s> around each block
_BLOCKS_AT_ONCE = 10_000


@dataclass(frozen=True)
class BlockLimits:
    """What decides about the blocks, beside the documents and the tokenizer."""

    prefix: str  # before every line
    max_length: int  # tokens of a block, <s> and </s> included
    blocks: int = -1  # the first so many, -1 for all


@dataclass
class PreparedBlocks:
    """Blocks <s> ... </s> and the line that each begins on, from 0."""

    texts: TokenStore
    lines: np.ndarray  # int64


def prepare_blocks(file: LineFile, tokenizer: PreTrainedTokenizerBase, limits: BlockLimits) -> PreparedBlocks:
    """Find the blocks of a file, or compute them first, one process at a time.

    Raises InputError where there are none, where the file changes meanwhile or where nothing can be written.
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
    """Compute the blocks, a portion at a time, and write them into an empty folder. Raises InputError as said above."""
    lines: list[int] = []
    kind = token_type(tokenizer)
    with open(folder / f"{_STORE}.tokens", "wb") as tokens_file:
        writer = TokenWriter(tokens_file)
        blocks = cut_blocks(_token_lines(file, tokenizer, limits.prefix), limits.max_length)
        wanted = islice(blocks, limits.blocks if limits.blocks >= 0 else None)
        while portion := list(islice(wanted, _BLOCKS_AT_ONCE)):
            lines += [line for line, _ in portion]
            ends = tokenizer.bos_token_id, tokenizer.eos_token_id
            writer.append([np.array([ends[0], *block, ends[1]], dtype=kind) for _, block in portion])
        sync(tokens_file)
    if not lines:
        raise InputError(f"{file.path}: every line is empty; there is nothing to learn")
    write_arrays(folder, {f"{_STORE}.offsets": writer.offsets(), "lines": np.array(lines, dtype=np.int64)})
    file.check_unchanged()
    write_header(
        folder,
        {"format": FORMAT, "digests": [file.digest], "type": kind.str, "checksums": {_STORE: writer.checksum()}},
    )


def open_blocks(folder: Path) -> PreparedBlocks | None:
    """Map the blocks; None where there are none or where a file has not the size that it was written with."""
    header = read_header(folder, FORMAT)
    try:
        if header is None or not is_complete(folder, header):
            return None
        return PreparedBlocks(open_store(folder, _STORE, header), np.load(folder / "lines.npy"))
    except OSError:  # deleted in this moment
        return None


def _token_lines(file: LineFile, tokenizer: PreTrainedTokenizerBase, prefix: str) -> Iterator[np.ndarray]:
    """The tokens of each line, none of an empty one."""
    with line_progress(file.lines, f"tokenizing {file.path}", "line") as progress:
        for portion in in_calls(iterate_lines(file.path), len):
            yield from encode_whole_texts([prefix + line if line.strip() else "" for line in portion], tokenizer)
            progress.update(len(portion))


def cut_blocks(lines: Iterable[Sequence[int] | np.ndarray], length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first line (from 0) and tokens of every block, without <s> and </s>.

    ``lines`` are the tokens of each line, none for an empty line; ``length`` is that of the longest block, <s> and </s>
    included.
    """
    room = length - _SPECIAL_TOKENS
    block: list[np.ndarray] = []
    first = filled = 0
    for number, line in enumerate(lines):
        if filled and (len(line) == 0 or filled + len(line) > room):
            yield first, np.concatenate(block)
            block, filled = [], 0
        pieces = [np.asarray(line[start : start + room]) for start in range(0, len(line), room)]
        for piece in pieces[:-1]:
            yield number, piece
        if pieces:
            first = first if filled else number
            block.append(pieces[-1])
            filled += len(pieces[-1])
    if filled:
        yield first, np.concatenate(block)
