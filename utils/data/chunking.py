"""Fit documents into the model's length: cut the rest away, or divide them into pieces to summarize one by one.

A document is divided at the end of a sentence. A sentence that is too long for a piece is divided between words, and
such a word between characters. Every token is in one piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import nupunkt
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError

from .tokens.encode import encode, token_type
from .tokens.token_array import TokenStore
from .tokens.truncation import Truncation, TruncationMeter

_WINDOW = 2000  # characters; the time that nupunkt takes for a row of "!" grows with the square of its length


@dataclass
class Sources:
    """The tokens of documents that a model reads, and how much is cut."""

    tokens: TokenStore  # one text for each piece, document by document
    pieces: np.ndarray  # (documents,) int64, pieces of each
    truncation: Truncation

    @property
    def documents_in_pieces(self) -> int:
        """Count the documents that have more than one piece."""
        return int((self.pieces > 1).sum())

    def joined(self, texts: Sequence[list[str]]) -> list[list[str]]:
        """Join the summaries of the pieces of each document.

        Args:
            texts: For each piece, its summaries; as many for each.

        Returns:
            For each document as many summaries: the n-th joins the n-th of all its pieces, in order.
        """
        ends = np.cumsum(self.pieces)
        return [
            [" ".join(filter(None, nth)) for nth in zip(*texts[end - count : end], strict=True)]
            for end, count in zip(ends.tolist(), self.pieces.tolist(), strict=True)
        ]


def read_sources(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str, in_pieces: bool
) -> Sources:
    """Tokenize ``prefix`` + document, with <s> and </s>, for each document.

    Args:
        documents: The texts, at least one.
        tokenizer: Makes the tokens.
        max_length: Most tokens of a piece, <s> and </s> included.
        prefix: Before every piece.
        in_pieces: Whether to divide longer documents into pieces; otherwise the rest is cut away.

    Raises:
        InputError: The prefix leaves no room in a piece.
    """
    heads = encode(documents, tokenizer, max_length, prefix)

    # Keep only the first tokens, and measure how much is cut.
    if not in_pieces:
        meter = TruncationMeter(tokenizer, max_length, prefix)
        for index, document in enumerate(documents):
            meter.add([document.encode()], [heads[index]])
        return Sources(heads, np.ones(len(documents), dtype=np.int64), meter.counts)

    # Divide the documents that may be longer than their first tokens.
    parts = [
        [heads[index]] if len(heads[index]) < max_length else pieces(document, tokenizer, max_length, prefix)
        for index, document in enumerate(documents)
    ]
    ids = [piece for document in parts for piece in document]
    nothing_cut = Truncation(len(documents), bytes=sum(len(document.encode()) for document in documents))
    counts = np.array([len(document) for document in parts], dtype=np.int64)
    return Sources(TokenStore.from_texts(ids), counts, nothing_cut)


def pieces(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> list[np.ndarray]:
    """Tokenize ``prefix`` + text, and divide it into as few pieces <s> ... </s> of ``max_length`` tokens as possible.

    Among the divisions into so few pieces, one whose longest piece is shortest is chosen. Every piece begins with the
    prefix. Raises InputError if the prefix leaves no room in a piece.
    """
    encoding = tokenizer.backend_tokenizer.encode(prefix + text)
    ids = np.array(encoding.ids, dtype=token_type(tokenizer))
    if len(ids) <= max_length:
        return [ids]

    # Tokenize the prefix of the other pieces. A space at its end belongs to the first piece alone, because the tokens
    # that the others begin with have their own.
    prefix_ids = tokenizer.backend_tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids
    again = np.array(prefix_ids, dtype=ids.dtype)
    room = max_length - 2 - len(again)
    if room < 1:
        raise InputError(f"--max_source_length {max_length}: the prefix {prefix!r} leaves no room; give more")

    # Divide the tokens between <s> and </s>.
    start, body, end = ids[:1], ids[1:-1], ids[-1:]
    starts = np.maximum.accumulate([place for place, _ in encoding.offsets[1:-1]])  # (N,) first character of each token
    cuts = _cuts(_places_to_cut(prefix + text, starts, room), room)
    parts = np.split(body, cuts[1:-1])
    parts[1:] = [np.concatenate([again, part]) for part in parts[1:]]
    return [np.concatenate([start, part, end]) for part in parts]


def _places_to_cut(text: str, starts: np.ndarray, room: int) -> np.ndarray:
    """Find token numbers, from 0 to N in order and at most ``room`` apart, before which the text may be cut.

    Args:
        text: The text.
        starts: (N,) the character that each token begins at.
        room: Most tokens between two cuts.
    """
    words = np.flatnonzero([place > 0 and text[place - 1].isspace() for place in starts.tolist()])
    characters = np.flatnonzero(np.diff(starts, prepend=-1))  # a character may have several tokens
    every = np.arange(len(starts))
    sentences = np.searchsorted(starts, sentence_ends(text))
    places = np.unique(np.concatenate([[0], sentences, [len(starts)]]))
    # Put finer places into those gaps that are still too wide.
    for finer in (words, characters, every):
        wide = np.flatnonzero(np.diff(places) > room)
        between = [finer[(finer > places[gap]) & (finer < places[gap + 1])] for gap in wide]
        places = np.unique(np.concatenate([places, *between]))
    return places


def _cuts(places: np.ndarray, room: int) -> list[int]:
    """Choose the fewest places, first and last among them, at most ``room`` apart, whose widest gap is smallest."""
    fewest = len(_filled(places, room))
    low, high = int(np.diff(places).max()), room
    while low < high:
        middle = (low + high) // 2
        if len(_filled(places, middle)) == fewest:
            high = middle
        else:
            low = middle + 1
    return _filled(places, high)


def _filled(places: np.ndarray, room: int) -> list[int]:
    """Choose the first place, then always the last one within ``room`` of the one before."""
    cuts = [int(places[0])]
    while cuts[-1] < places[-1]:
        cuts.append(int(places[np.searchsorted(places, cuts[-1] + room, side="right") - 1]))
    return cuts


def sentence_ends(text: str) -> list[int]:
    """Return the character after each sentence but the last. Takes a time proportional to the length of the text."""
    ends: list[int] = []
    start = 0
    while start < len(text):
        spans = nupunkt.sent_spans(text[start : start + _WINDOW])
        found = [start + end for _, end in spans[:-1]]  # the last sentence may go on beyond the window
        ends += found
        start = found[-1] if found and start + _WINDOW < len(text) else start + _WINDOW
    return ends
