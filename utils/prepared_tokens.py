"""The tokens of a split, computed once and kept in memory-mapped files.

They lie in ``<data folder>/.prepared/<split>-<key>`` (see utils/kept_folders.py). The key stands for the content of the
texts, the tokenizer and the lengths, so what is found under it is right.
"""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import tokenizers
from transformers import PreTrainedTokenizerBase

from utils.kept_folders import find_or_make, places_of
from utils.pairs import SplitFiles
from utils.prepared_files import FORMAT, PreparedPairs, TokenLimits, open_prepared, read_header, write_prepared


def prepare(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> PreparedPairs:
    """Find the tokens of a split, or compute them first, one process at a time.

    Raises InputError where no pair has both texts, where the files change meanwhile or where nothing can be written.
    """
    return find_or_make(
        places_of(files.source.path.parent),
        f"{files.split}-{_key(files, tokenizer, limits)}",
        "tokens",
        open_prepared,
        lambda folder: write_prepared(folder, files, tokenizer, limits),
        lambda place: _delete_useless(place, files),
    )


def _key(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> str:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # of the last call
        del backend[state]
    parts = [
        FORMAT, files.source.digest, files.target.digest, backend, tokenizer.truncation_side, tokenizers.__version__,
        asdict(limits),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _delete_useless(place: Path, files: SplitFiles) -> None:
    """Delete the tokens of texts that these files no longer hold."""
    digests = [files.source.digest, files.target.digest]
    for folder in place.glob(f"{files.split}-*"):
        header = read_header(folder)
        if header is None or header["digests"] != digests:
            shutil.rmtree(folder, ignore_errors=True)
