"""Split texts of any script into words, for ROUGE and for statistics.

A word is what Unicode's default rules find (UAX 29, https://www.unicode.org/reports/tr29/, section 4.1): letters and
digits with their marks, be they Latin, Arabic or Devanagari. Scripts that put no spaces between words would need a
dictionary; there a word is a character with its marks: Chinese and Japanese, and by the same rules Thai, Lao, Khmer and
Myanmar. Korean has spaces, and whole words.

Upper and lower case are the same, and so are a character's composed, wide or otherwise presented forms (NFKC), and a
word with and without characters that nobody sees. As in rouge-score, punctuation of ASCII ends a word ("can't" is can
and t, 1,000 is 1 and 000), and so does the apostrophe of typography: texts in ASCII have the words of rouge-score.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal
from unicodedata import normalize

import regex
from nltk.stem.porter import PorterStemmer
from rouge_score.tokenizers import Tokenizer

RougeTokenizer = Literal["ascii", "unicode"]

_PARTS_KEPT = 30_000  # most texts of a corpus share what is between their spaces
_LONGEST_KEPT = 60  # characters; without spaces between words, a part is a sentence that hardly comes back
_SHORTEST_STEMMED = 4  # letters, as in rouge-score

_BOUNDARY = regex.compile(r"(?w)\b", regex.VERSION1)  # with the flag w, \b is a boundary of UAX 29
_DIVIDER = regex.compile(r"[\s!-/:-@\[-`{-~\u2018\u2019]+")
_UNSEEN = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_LETTER_OR_DIGIT = regex.compile(r"[\p{L}\p{N}]")
_KATAKANA = regex.compile(r"\p{Word_Break=Katakana}")  # which UAX 29 keeps together
_CHARACTER = regex.compile(r"\X")

_stemmer = PorterStemmer()


def unicode_words(text: str) -> list[str]:
    """Return the words of a text, in the form in which they are compared."""
    return [word for part in text.split() for word in _looked_up(_kept_words, part)]


def stemmed_unicode_words(text: str) -> list[str]:
    """Return the words of a text, for ROUGE: Porter's stemmer knows English, so it gets the words in ASCII alone."""
    return [word for part in text.split() for word in _looked_up(_kept_stems, part)]


class UnicodeTokenizer(Tokenizer):
    """Splits texts for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        """Return the stemmed words of a text."""
        return stemmed_unicode_words(text)


@lru_cache(_PARTS_KEPT)
def _kept_words(part: str) -> tuple[str, ...]:
    """Return the words of what is between two spaces."""
    folded = normalize("NFKC", normalize("NFKC", part).casefold())
    return tuple(word for segment in _BOUNDARY.split(folded) for word in _words_of_segment(segment))


def _looked_up(split: Any, part: str) -> tuple[str, ...]:
    """Split a part by a cached function, and leave long ones out of its cache."""
    words: tuple[str, ...] = split(part) if len(part) <= _LONGEST_KEPT else split.__wrapped__(part)
    return words


def _words_of_segment(segment: str) -> Iterator[str]:
    for word in _DIVIDER.split(_UNSEEN.sub("", segment)):
        if _KATAKANA.search(word):
            yield from _CHARACTER.findall(word)
        elif _LETTER_OR_DIGIT.search(word):
            yield word


@lru_cache(_PARTS_KEPT)
def _kept_stems(part: str) -> tuple[str, ...]:
    words = _looked_up(_kept_words, part)
    return tuple(_stemmer.stem(word) if word.isascii() and len(word) >= _SHORTEST_STEMMED else word for word in words)
