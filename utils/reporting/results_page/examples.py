"""Packs the texts and scores of a page's examples, so that they are small enough to lie in the page.

They are JSON, compressed and in base64, whose letters no text can break out of. There are two parts, so that a browser
has the summaries before it unpacks the sources, which are 46 MB for CNN-DM's test split.
"""

import base64
import gzip
import json
from typing import Any

from ...evaluation.examples import ScoredExamples
from ...evaluation.names_and_numbers import find_mentions
from ...evaluation.rouge import ROUGE_TYPES

_MOST_CHARACTERS = 20_000  # of a source; a model reads about 5,000


def packed_summaries(examples: ScoredExamples) -> str:
    """Pack references, generations, ROUGE values times 100, the number of words of every text, and its row if known.

    And ``absent``: the places of names and numbers in each generation that its source does not contain.
    """
    texts = {"references": examples.references, "generations": examples.generations}
    content: dict[str, Any] = {name: list(lines) for name, lines in texts.items() if lines is not None}
    content["words"] = {
        name: [len(text.split()) for text in lines]
        for name, lines in {"sources": examples.sources, **texts}.items()
        if lines is not None
    }
    content["absent"] = list(map(_absent_places, examples.sources, examples.generations))
    if examples.rows is not None:
        content["rows"] = (examples.rows + 1).tolist()
    if examples.scores is not None:
        columns = zip(ROUGE_TYPES, (100 * examples.scores.T).round(2).tolist(), strict=True)
        content["scores"] = dict(columns)
    return _packed(content)


def _absent_places(source: str, generation: str) -> list[int]:
    """Return the start and the end of each mention, one after the other, in the units of JavaScript's strings."""
    absent = [each for each in find_mentions(source, generation) if not each.is_in_source]
    return [len(generation[:place].encode("utf-16-le")) // 2 for each in absent for place in (each.start, each.end)]


def packed_sources(examples: ScoredExamples) -> str:
    """Pack the sources, and cut off the ends of very long ones."""
    return _packed([_shortened(source) for source in examples.sources])


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]} [... {len(text) - _MOST_CHARACTERS:,} more characters are not on this page]"


def _packed(content: Any) -> str:
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode()
