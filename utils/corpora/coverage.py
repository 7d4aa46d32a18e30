"""Tells whether a summary can be known from its text: by the share of its content words that the text has."""

import re
from functools import lru_cache

from nltk.stem.porter import PorterStemmer

from ..data.formats.pair import Pair

LEAST_COVERAGE = 0.5

_STEMMER = PorterStemmer()
# Words without content of their own, and those with which nearly every summary line of a docstring begins.
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about above after all also an and any are as at be because been before being below between both but by can
        could did do does each either else every few for from get given gets had has have having he her here his how
        i if in into is it its itself just like made make makes many may might more most much must my no nor not of
        off on once one only or other our out over own perform performs provide provides return returns same set
        sets shall she should so some such than that the their them then there these they this those through to too
        under until up use used uses using very via was we were what when where whether which while who whose why
        will with within without would you your
        """,
    )
)


def covers(pair: Pair) -> bool:
    """Whether the text has at least half of its summary's content words, by their stems.

    A summary without any content word cannot be known from the text either.
    """
    words = _content_stems(pair.target)
    return bool(words) and len(words & _content_stems(pair.source)) >= LEAST_COVERAGE * len(words)


def _content_stems(text: str) -> set[str]:
    words = set(re.findall(r"[a-z]+|[0-9]+", text.lower()))
    return {_stem(word) for word in words if word not in _FUNCTION_WORDS and (len(word) > 1 or word.isdigit())}


@lru_cache(maxsize=2**16)
def _stem(word: str) -> str:
    return _STEMMER.stem(word)
