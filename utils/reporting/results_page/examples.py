"""The examples of a page: their texts and scores, small enough to be carried in it.

They are JSON, compressed and in base64: letters that no text in them can break out of. Texts are two parts, so that the
summaries are there before the sources, of which CNN-DM's test split has 46 MB.
"""

import base64
import gzip
import json
from typing import Any

from ...evaluation.examples import Examples
from ...evaluation.rouge import ROUGE_TYPES

_MOST_CHARACTERS = 20_000  # of a source; models read some 5,000


def packed_summaries(examples: Examples) -> str:
    """References, generations, ROUGE values times 100 and the number of words of everything."""
    texts = {"references": examples.references, "generations": examples.generations}
    content: dict[str, Any] = {name: list(lines) for name, lines in texts.items() if lines is not None}
    content["words"] = {
        name: [len(text.split()) for text in lines]
        for name, lines in {"sources": examples.sources, **texts}.items()
        if lines is not None
    }
    if examples.scores is not None:
        columns = zip(ROUGE_TYPES, (100 * examples.scores.T).round(2).tolist(), strict=True)
        content["scores"] = dict(columns)
    return _packed(content)


def packed_sources(examples: Examples) -> str:
    """The sources, the very longest without their ends."""
    return _packed([_shortened(source) for source in examples.sources])


def _shortened(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    return f"{text[:_MOST_CHARACTERS]} [... {len(text) - _MOST_CHARACTERS:,} more characters are not on this page]"


def _packed(content: Any) -> str:
    raw = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(raw, compresslevel=6, mtime=0)).decode()
