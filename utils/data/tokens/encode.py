"""Turn texts into token ids, on all threads of the tokenizer, and back into texts."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..line_files import one_line
from .token_array import TokenStore

Item = TypeVar("Item")

# Texts and characters of one call of the tokenizer: many keep its threads busy, few need little memory.
_TEXTS_PER_CALL = 1000
_CHARACTERS_PER_CALL = 4_000_000

_CHARACTERS_PER_TOKEN = 8  # nearly every text has fewer; one that has more is tokenized twice


def token_type(tokenizer: PreTrainedTokenizerBase) -> np.dtype:
    """Return the smallest integer type that holds every id: uint16 or int32."""
    return np.dtype(np.uint16 if len(tokenizer) <= 2**16 else np.int32)


def encode(lines: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> TokenStore:
    """Tokenize ``prefix`` + line for each of one or more lines, as ``encode_texts`` does."""
    ids = [text for part in portions(lines, len) for text in encode_texts(part, tokenizer, max_length, prefix)]
    return TokenStore.from_texts(ids)


def portions(items: Iterable[Item], characters: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Group items into portions, each enough for one call of the tokenizer.

    Args:
        items: Anything that holds texts.
        characters: Returns how many characters an item holds.
    """
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
    """Tokenize ``prefix`` + text for each text, on all threads of the tokenizer.

    The ids are those of the tokenizer's own truncation. Of a long text only as much is read as ``max_length`` tokens
    need.

    Args:
        texts: The texts of one call (see ``portions``).
        tokenizer: Makes the ids. It is left without truncation and padding.
        max_length: Most ids of a text, <s> and </s> included.
        prefix: Before every text.

    Returns:
        <s> ... </s> of each text, cut before </s> if it is longer.
    """
    # Cut long texts down to a beginning that should have enough tokens.
    prefixed = [prefix + text for text in texts]
    cut = _beginnings_suffice(tokenizer)
    heads = [_beginning(text, max_length * _CHARACTERS_PER_TOKEN) if cut else text for text in prefixed]

    # Tokenize what is left, by the backend: the tokenizer's own call computes offsets and masks as well, and takes half
    # as long again.
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    backend.no_padding()
    encoded = [encoding.ids for encoding in backend.encode_batch_fast(heads)]

    # Tokenize the full text if its beginning had too few tokens.
    for index, (text, head) in enumerate(zip(prefixed, heads, strict=True)):
        if len(head) < len(text) and len(encoded[index]) < max_length:
            encoded[index] = backend.encode_batch_fast([text])[0].ids
    backend.no_truncation()  # otherwise it would be saved with the tokenizer
    dtype = token_type(tokenizer)
    return [np.array(ids, dtype=dtype) for ids in encoded]


def encode_uncut_texts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[np.ndarray]:
    """Tokenize each text in full, without <s> and </s>."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    dtype = token_type(tokenizer)
    return [np.array(encoding.ids, dtype) for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]


def decode(sequences: Tensor, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Turn token ids (N, L) into N texts without special tokens, each of which is one line for every program."""
    texts = tokenizer.batch_decode(sequences, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return [one_line(text) for text in texts]


def _beginnings_suffice(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether the first tokens of a text follow from its beginning: whether no token can span two words."""
    return tokenizer.truncation_side == "right" and not any(" " in token for token in tokenizer.get_added_vocab())


def _beginning(text: str, length: int) -> str:
    """Return the first words of a text, about ``length`` characters, or the text if it is not much longer.

    Byte-level BPE splits a text into words first, and a space after a letter or digit always begins a word. So the
    tokens of the beginning are the first tokens of the text.
    """
    if len(text) <= 2 * length:
        return text
    for end in range(length, length // 2, -1):
        if text[end] == " " and text[end - 1].isalnum():
            return text[:end]
    return text
