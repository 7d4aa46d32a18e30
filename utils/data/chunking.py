"""Documents beyond the model's length: read up to it, or cut into pieces that are summarized one by one.

A document is cut where a sentence ends; in a sentence that is too long for a piece, where a word ends; in such a word,
between two characters. No token is lost, none is read twice.
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

_WINDOW = 2000  # characters: nupunkt takes a time that grows with the square of the length where "!" follows "!"


@dataclass
class Sources:
    """What a model reads of some documents, and what it does not."""

    tokens: TokenStore  # of one piece after another
    pieces: np.ndarray  # int64, of each document
    truncation: Truncation

    @property
    def documents_in_pieces(self) -> int:
        """Documents of more than one piece."""
        return int((self.pieces > 1).sum())

    def joined(self, texts: Sequence[list[str]]) -> list[list[str]]:
        """From the summaries of each piece to those of each document: the n-th ones of its pieces, in order."""
        ends = np.cumsum(self.pieces)
        return [
            [" ".join(filter(None, nth)) for nth in zip(*texts[end - count : end], strict=True)]
            for end, count in zip(ends.tolist(), self.pieces.tolist(), strict=True)
        ]


def read_sources(
    documents: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str, in_pieces: bool
) -> Sources:
    """Tokenize ``prefix`` + document for each; what is beyond ``max_length`` is cut away or, ``in_pieces``, goes on."""
    heads = encode(documents, tokenizer, max_length, prefix)
    if not in_pieces:
        meter = TruncationMeter(tokenizer, max_length, prefix)
        for index, document in enumerate(documents):
            meter.add([document.encode()], [heads[index]])
        return Sources(heads, np.ones(len(documents), dtype=np.int64), meter.counts)
    of_each = [
        [heads[index]] if len(heads[index]) < max_length else pieces(document, tokenizer, max_length, prefix)
        for index, document in enumerate(documents)
    ]
    ids = [piece for document in of_each for piece in document]
    tokens = TokenStore(np.concatenate(ids), np.cumsum([0, *map(len, ids)], dtype=np.int64))
    whole = Truncation(len(documents), bytes=sum(len(document.encode()) for document in documents))
    return Sources(tokens, np.array([len(document) for document in of_each], dtype=np.int64), whole)


def pieces(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int, prefix: str) -> list[np.ndarray]:
    """The ids of ``prefix`` + text: <s> ... </s> once, or as few times as it takes with ``max_length`` tokens each.

    Among the ways to cut it into so few pieces, it is one with the shortest longest piece. Every piece gets the prefix.
    Raises InputError where the prefix alone is too long.
    """
    encoding = tokenizer.backend_tokenizer.encode(prefix + text)
    ids = np.array(encoding.ids, dtype=token_type(tokenizer))
    if len(ids) <= max_length:
        return [ids]
    start, body, end = ids[:1], ids[1:-1], ids[-1:]
    # A space that a prefix ends with is the first piece's alone: the tokens of the others begin with their own.
    again = np.array(
        tokenizer.backend_tokenizer.encode(prefix.rstrip(), add_special_tokens=False).ids, dtype=ids.dtype
    )
    room = max_length - 2 - len(again)
    if room < 1:
        raise InputError(f"--max_source_length {max_length}: the prefix {prefix!r} leaves no room; give more")
    starts = np.maximum.accumulate([place for place, _ in encoding.offsets[1:-1]])  # (N) characters
    cuts = _cuts(_places_to_cut(prefix + text, starts, room), room)
    parts = np.split(body, cuts[1:-1])
    parts[1:] = [np.concatenate([again, part]) for part in parts[1:]]
    return [np.concatenate([start, part, end]) for part in parts]


def _places_to_cut(text: str, starts: np.ndarray, room: int) -> np.ndarray:
    """Numbers of tokens, from 0 to N in order and at most ``room`` apart, before which the text may be cut."""
    words = np.flatnonzero([place > 0 and text[place - 1].isspace() for place in starts.tolist()])
    characters = np.flatnonzero(np.diff(starts, prepend=-1))  # one may have several tokens
    every = np.arange(len(starts))
    sentences = np.searchsorted(starts, sentence_ends(text))
    places = np.unique(np.concatenate([[0], sentences, [len(starts)]]))
    for finer in (words, characters, every):
        wide = np.flatnonzero(np.diff(places) > room)
        between = [finer[(finer > places[gap]) & (finer < places[gap + 1])] for gap in wide]
        places = np.unique(np.concatenate([places, *between]))
    return places


def _cuts(places: np.ndarray, room: int) -> list[int]:
    """The fewest of the places, first and last among them, at most ``room`` apart; then the narrowest such."""
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
    """The places where pieces end that are each filled up to ``room``, and the first place."""
    cuts = [int(places[0])]
    while cuts[-1] < places[-1]:
        cuts.append(int(places[np.searchsorted(places, cuts[-1] + room, side="right") - 1]))
    return cuts


def sentence_ends(text: str) -> list[int]:
    """Where the next sentence begins, for each but the last, in characters; in a time that is bounded by the length."""
    ends: list[int] = []
    start = 0
    while start < len(text):
        spans = nupunkt.sent_spans(text[start : start + _WINDOW])
        found = [start + end for _, end in spans[:-1]]  # the last one may go on beyond the window
        ends += found
        start = found[-1] if found and start + _WINDOW < len(text) else start + _WINDOW
    return ends
