"""Packs the texts and scores of a page's examples, so that they are small enough to lie in the page.

They are JSON, compressed and in base64, whose letters no text can break out of. There are two parts, so that a browser
has the summaries before it unpacks the sources, which are 46 MB for CNN-DM's test split.
"""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...evaluation.examples import ScoredExamples
from ...evaluation.names_and_numbers import Mention, find_mentions
from ...evaluation.rouge import ROUGE_TYPES
from .before import Before

_MOST_CHARACTERS = 20_000  # of a source; a model reads about 5,000


def packed_summaries(examples: ScoredExamples, before: Before | None = None) -> str:
    """Pack references, generations, ROUGE values times 100, the number of words of every text, and its row if known.

    And ``absent``: the places of names and numbers in each summary that its source does not contain. With ``before``,
    the summaries before fine-tuning are packed in the same way.
    """
    summaries = {**({} if before is None else {"before": before.generations}), "generations": examples.generations}
    texts = {"references": examples.references, **summaries}
    content: dict[str, Any] = {name: list(lines) for name, lines in texts.items() if lines is not None}
    content["words"] = {
        name: [len(text.split()) for text in lines]
        for name, lines in {"sources": examples.sources, **texts}.items()
        if lines is not None
    }
    content["absent"] = {
        name: list(map(_absent_places, summaries[name], mentions))
        for name, mentions in _mentions(examples, summaries).items()
    }
    if examples.rows is not None:
        content["rows"] = (examples.rows + 1).tolist()
    if examples.scores is not None:
        content["scores"] = _by_type(examples.scores)
    if before is not None:
        content["scores_before"] = _by_type(before.scores)
    return _packed(content)


def _by_type(scores: np.ndarray) -> dict[str, list[float]]:
    return dict(zip(ROUGE_TYPES, (100 * scores.T).round(2).tolist(), strict=True))


def _mentions(
    examples: ScoredExamples, summaries: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[Sequence[Mention]]]:
    """Return the names and numbers of all summaries, and look only for those that the examples do not have."""
    known = {} if examples.mentions is None else {"generations": examples.mentions}
    others = [name for name in summaries if name not in known]
    found = find_mentions(examples.sources, [summaries[name] for name in others])
    return {**dict(zip(others, found, strict=True)), **known}


def _absent_places(generation: str, mentions: Sequence[Mention]) -> list[int]:
    """Return the start and the end of each absent one, one after the other, in the units of JavaScript's strings."""
    absent = [each for each in mentions if not each.is_in_source]
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
