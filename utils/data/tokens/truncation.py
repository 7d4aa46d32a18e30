"""How much of the texts was cut away to fit a greatest length."""

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
        """Of all texts, those that lost something; 0 where there are none."""
        return self.cut_texts / max(self.texts, 1)

    @property
    def share_of_bytes(self) -> float:
        """Of all bytes, those that were cut away."""
        return self.cut_bytes / max(self.bytes, 1)


class TruncationMeter:
    """Counts what the tokens of texts do not hold.

    The tokens that a cut text would have had are not known without reading all of it, which ``encode_texts`` avoids.
    But a token of byte-level BPE stands for so many bytes, so the bytes that are kept are known, and with them those
    that are lost. (A <mask> written in a text takes the space before it along: that byte counts as lost.)
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> None:
        """The tokens are to be those of ``prefix`` + text, at most ``max_length``, between <s> and </s>."""
        self.counts = Truncation()
        self._max_length = max_length
        self._prefix_bytes = len(prefix.encode())
        self._bytes_of = _bytes_of_tokens(tokenizer)

    def add(self, texts: Sequence[bytes], ids: Sequence[np.ndarray]) -> None:
        """Count some texts, in UTF-8, and the ids of each."""
        sizes = [len(text) for text in texts]
        self.counts.texts += len(sizes)
        self.counts.bytes += sum(sizes)
        for size, kept in zip(sizes, ids, strict=True):
            if len(kept) < self._max_length:
                continue
            lost = size + self._prefix_bytes - int(self._bytes_of[kept[1:-1]].sum())
            if lost > 0:
                self.counts.cut_texts += 1
                self.counts.cut_bytes += min(lost, size)  # of a prefix too long itself no byte counts


def _bytes_of_tokens(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(V,) int64: the bytes that each id stands for. In byte-level BPE a character of a token is one byte."""
    vocabulary = tokenizer.get_vocab()
    sizes = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
    for token, token_id in vocabulary.items():
        sizes[token_id] = len(token)
    for token, token_id in tokenizer.get_added_vocab().items():  # these are written as they are
        sizes[token_id] = len(token.encode())
    return sizes
