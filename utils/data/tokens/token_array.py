"""Token ids of many texts: how they are made and how they are held."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from ..model_vocabulary import ModelVocabulary

Item = TypeVar("Item")

# Of one call of the tokenizer: enough to keep its threads busy, few enough to stay small in memory.
_TEXTS_PER_CALL = 1000
_CHARACTERS_PER_CALL = 4_000_000

_CHARACTERS_PER_TOKEN = 8  # more than nearly every text has; where it has fewer tokens, it is tokenized whole


@dataclass
class TokenStore:
    """Token ids of many texts in one flat array: text i is ``tokens[offsets[i] : offsets[i + 1]]``."""

    tokens: np.ndarray  # uint16, or int32 where the vocabulary is larger; may lie in a memory-mapped file
    offsets: np.ndarray  # int64, one more than there are texts
    known_checksum: int | None = None  # of tokens in a file, so that it need not be read
    vocabulary: ModelVocabulary | None = None  # of the model that reads them; None: it knows every token

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        ids = self.tokens[self.offsets[row] : self.offsets[row + 1]]
        return ids if self.vocabulary is None else self.vocabulary.known(ids)

    def read_by(self, vocabulary: ModelVocabulary | None) -> "TokenStore":
        """The same tokens for a model with that vocabulary, if it is smaller than the tokenizer's."""
        return replace(self, vocabulary=vocabulary)

    def count_unknown(self) -> int:
        """Count the tokens that the model reads as <unk> because it does not know them."""
        return 0 if self.vocabulary is None else self.vocabulary.count_unknown(self.tokens)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.offsets)

    def checksum(self) -> int:
        """A number that differs when the tokens do, whatever model reads them."""
        if self.known_checksum is not None:
            return self.known_checksum
        return zlib.crc32(self.offsets.tobytes(), zlib.crc32(self.tokens.tobytes()))


def token_type(tokenizer: PreTrainedTokenizerBase) -> np.dtype:
    """The smallest type that holds every id."""
    return np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.int32)


def encode(lines: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> TokenStore:
    """Tokenize ``prefix`` + line for every line: <s> ... </s>, cut to ``max_length`` tokens with </s> kept."""
    ids = [text for part in in_calls(lines, len) for text in encode_texts(part, tokenizer, max_length, prefix)]
    return TokenStore(np.concatenate(ids), np.cumsum([0, *map(len, ids)], dtype=np.int64))


def in_calls(items: Iterable[Item], characters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Portions for one call of encode_texts each."""
    portion: list[Item] = []
    size = 0
    for item in items:
        portion.append(item)
        size += characters(item)
        if len(portion) == _TEXTS_PER_CALL or size >= _CHARACTERS_PER_CALL:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def encode_texts(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str
) -> list[np.ndarray]:
    """The ids of ``prefix`` + text for each text, as the tokenizer gives them with truncation, on all its threads.

    Of a long text only a beginning is read that has ``max_length`` tokens, so its length costs nothing.
    """
    prefixed = [prefix + text for text in texts]
    cut = _beginnings_suffice(tokenizer)
    heads = [_beginning(text, max_length * _CHARACTERS_PER_TOKEN) if cut else text for text in prefixed]
    # Not the tokenizer's own call: that computes offsets and masks, which takes half as long again.
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    backend.no_padding()
    encoded = [encoding.ids for encoding in backend.encode_batch_fast(heads)]
    for row, (text, head) in enumerate(zip(prefixed, heads, strict=True)):
        if len(head) < len(text) and len(encoded[row]) < max_length:
            encoded[row] = backend.encode_batch_fast([text])[0].ids
    backend.no_truncation()  # or it were saved with the tokenizer
    kind = token_type(tokenizer)
    return [np.array(ids, dtype=kind) for ids in encoded]


def encode_whole_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[np.ndarray]:
    """All ids of each text, without <s> and </s>."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    kind = token_type(tokenizer)
    return [np.array(encoding.ids, kind) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def _beginnings_suffice(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text's first tokens are those of its beginning: no token lies across the space that ends it."""
    return tokenizer.truncation_side == "right" and not any(" " in token for token in tokenizer.get_added_vocab())


def _beginning(text: str, length: int) -> str:
    """About ``length`` characters of a text that is much longer, up to the end of a word; else the text.

    Byte-level BPE splits a text into words before all else, and a space after a letter or digit always begins the next
    one; so the tokens of the beginning are the first tokens of the text.
    """
    if len(text) <= 2 * length:
        return text
    for end in range(length, length // 2, -1):
        if text[end] == " " and text[end - 1].isalnum():
            return text[:end]
    return text
