"""Find what share of the sources each length of a model would keep whole: whether its positions are to be extended."""

from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..runtime.progress import line_progress
from .line_files import iterate_lines
from .splits import SplitFiles
from .tokens.encode import encode_texts, portions
from .tokens.pair_cache import PreparedPairs

LENGTHS = (1024, 2048, 4096, 8192, 16_384)  # tokens, <s> and </s> included


def share_kept_whole(
    files: SplitFiles, pairs: PreparedPairs, tokenizer: PreTrainedTokenizerBase, prefix: str, limit: int
) -> dict[int, float]:
    """Return the share of the sources of a split that have no more tokens than each of ``LENGTHS``.

    Sources of fewer tokens than ``limit`` were not cut, so that their length is known. The others are read again.

    Args:
        files: of the split.
        pairs: its prepared tokens.
        tokenizer: that has made them.
        prefix: before every source.
        limit: the most tokens of a prepared source.

    Raises:
        InputError: the file has changed since it was prepared.
    """
    lengths = pairs.sources.lengths.copy()
    maybe_cut = np.flatnonzero(lengths >= limit)
    cut_lines = set(pairs.lines[maybe_cut].tolist())
    lengths[maybe_cut] = list(_count_tokens(files, cut_lines, tokenizer, prefix))
    return {length: float((lengths <= length).mean()) for length in LENGTHS}


def _count_tokens(
    files: SplitFiles, lines: set[int], tokenizer: PreTrainedTokenizerBase, prefix: str
) -> Iterator[int]:
    """Yield the tokens of the sources in some lines, up to one more than the largest of ``LENGTHS``."""
    sources = (text for line, text in enumerate(iterate_lines(files.source.path)) if line in lines)
    with line_progress(len(lines), f"measuring {files.name}", "source") as progress:
        for texts in portions(sources, len):
            yield from map(len, encode_texts(texts, tokenizer, LENGTHS[-1] + 1, prefix))
            progress.update(len(texts))
    files.source.check_unchanged()
