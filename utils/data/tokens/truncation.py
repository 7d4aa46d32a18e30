"""Measure how much of the texts was cut away to fit the greatest length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase


@dataclass
class Truncation:
    """Counts over many texts. Bytes are those of UTF-8, without the prefix."""

    texts: int = 0
    cut_texts: int = 0
    bytes: int = 0
    cut_bytes: int = 0

    @property
    def share_of_texts(self) -> float:
        """The share of the texts that lost something; 0 if there are no texts."""
        return self.cut_texts / max(self.texts, 1)

    @property
    def share_of_bytes(self) -> float:
        """The share of the bytes that was cut away; 0 if there are none."""
        return self.cut_bytes / max(self.bytes, 1)


class TruncationMeter:
    """Counts the bytes of texts that their tokens do not hold.

    Lost tokens cannot be counted, because ``encode_texts`` does not read a long text to its end. But every token of
    byte-level BPE stands for a known number of bytes, so the bytes that are kept are known, and with them those that
    are lost. A <mask> written in a text also takes the space before it: that byte counts as lost.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> None:
        """Expect the ids that ``encode_texts`` returns with these arguments."""
        self.counts = Truncation()
        self._max_length = max_length
        self._prefix_bytes = len(prefix.encode())
        self._bytes_of = _bytes_of_tokens(tokenizer)

    def add(self, texts: Sequence[bytes], ids: Sequence[np.ndarray]) -> None:
        """Count some texts, given in UTF-8, and the ids of each."""
        sizes = [len(text) for text in texts]
        self.counts.texts += len(sizes)
        self.counts.bytes += sum(sizes)
        for size, kept in zip(sizes, ids, strict=True):
            if len(kept) < self._max_length:
                continue
            lost = size + self._prefix_bytes - int(self._bytes_of[kept[1:-1]].sum())
            if lost > 0:
                self.counts.cut_texts += 1
                self.counts.cut_bytes += min(lost, size)  # a prefix that is cut itself does not count


def _bytes_of_tokens(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Return (V,) int64, the bytes that each id stands for. In byte-level BPE a character of a token is one byte."""
    vocabulary = tokenizer.get_vocab()
    sizes = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, token_id in vocabulary.items():
        sizes[token_id] = len(token)
    for token, token_id in tokenizer.get_added_vocab().items():  # which are stored as plain text
        sizes[token_id] = len(token.encode())
    return sizes
