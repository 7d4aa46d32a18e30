"""The tokens of a split, computed once and kept in memory-mapped files.

They lie in ``<data folder>/.prepared/<split>-<key>`` (see utils/io/artifact_cache.py). The key stands for the content
of the texts, the tokenizer and the lengths, so what is found under it is right.
"""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import tokenizers
from transformers import PreTrainedTokenizerBase

from ...io.artifact_cache import get_or_create, places_of
from ..splits import SplitFiles
from .memory_map import delete_outdated
from .pair_files import FORMAT, PreparedPairs, TokenLimits, open_prepared, write_prepared


def prepare(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> PreparedPairs:
    """Find the tokens of a split, or compute them first, one process at a time.

    Raises InputError where no pair has both texts, where the files change meanwhile or where nothing can be written.
    """
    digests = [files.source.digest, files.target.digest]
    return get_or_create(
        places_of(files.source.path.parent),
        f"{files.split}-{tokens_key([FORMAT, *digests], tokenizer, limits)}",
        "tokens",
        open_prepared,
        lambda folder: write_prepared(folder, files, tokenizer, limits),
        lambda place: delete_outdated(place, f"{files.split}-*", FORMAT, digests),
    )


def tokens_key(content: list[Any], tokenizer: PreTrainedTokenizerBase, limits: Any) -> str:
    """A name for the tokens that a tokenizer makes of a ``content``, given by its digests, with ``limits``."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # of the last call
        del backend[state]
    parts = [content, backend, tokenizer.truncation_side, tokenizers.__version__, asdict(limits)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]
