"""Texts to token ids, on all threads of the tokenizer, and back."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..line_files import one_line
from .token_array import TokenStore

Item = TypeVar("Item")

# Of one call of the tokenizer: enough to keep its threads busy, few enough to stay small in memory.
_TEXTS_PER_CALL = 1000
_CHARACTERS_PER_CALL = 4_000_000

_CHARACTERS_PER_TOKEN = 8  # more than nearly every text has; where it has fewer tokens, it is tokenized whole


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
    for index, (text, head) in enumerate(zip(prefixed, heads, strict=True)):
        if len(head) < len(text) and len(encoded[index]) < max_length:
            encoded[index] = backend.encode_batch_fast([text])[0].ids
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


def decode(sequences: Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Token ids (N, L) to N texts of one line each, whoever splits them into lines, without special tokens."""
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [one_line(text) for text in texts]


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
