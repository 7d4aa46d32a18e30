"""What a batch's texts are padded to, beside the longest of them."""

from typing import TypeVar

import numpy as np

PADDING_MULTIPLE = 8  # the tensor cores of GPUs want it (also what max lengths such as 1024 are multiples of)

Lengths = TypeVar("Lengths", int, np.ndarray)


def padded_length(tokens: Lengths) -> Lengths:
    """The next multiple of PADDING_MULTIPLE, of one length or of each in an array."""
    return -(-tokens // PADDING_MULTIPLE) * PADDING_MULTIPLE
