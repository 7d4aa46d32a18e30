"""Documents as blocks of tokens, for pre-training.

A file of documents has one paragraph a line; empty lines end documents. A block is as many whole lines of one document
as fit; a line that is longer than a block is cut.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

SPECIAL_TOKENS = 2  # <s> and </s> around each block


def cut_blocks(lines: Iterable[Sequence[int] | np.ndarray], length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number of the first line (from 0) and tokens of every block, without <s> and </s>.

    ``lines`` are the tokens of each line, none for an empty line; ``length`` is that of the longest block, <s> and </s>
    included.
    """
    room = length - SPECIAL_TOKENS
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
