"""Find and check the files of a byte-level BPE tokenizer before transformers reads them.

transformers does not report some errors: from a folder without tokenizer files it makes a tokenizer of five tokens, and
it gives missing special tokens new ids at the end of the vocabulary.
"""

import json
import os
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE

from bart.errors import InputError
from bart.hub import find_file

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

CONFIG_FILE = "tokenizer_config.json"
ADDED_TOKENS_FILE = "added_tokens.json"
TOKENIZER_FILE = "tokenizer.json"  # a complete tokenizer in one file
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"  # the older format, a pair of files


def find_tokenizer(name_or_path: str | os.PathLike[str]) -> Path:
    """Find and check the tokenizer of a folder or of a model on the hub, downloading its files if needed.

    Returns:
        The local folder with the files.

    Raises:
        InputError: there is no such folder or model, or its tokenizer is missing, unreadable or incomplete.
    """
    path = Path(name_or_path)
    if path.is_file():
        raise InputError(f"{path} is a file; give the folder that holds the tokenizer's files, or a hub id")

    # The vocabulary, from either format.
    if (file := find_file(name_or_path, TOKENIZER_FILE)) is not None:
        tokens = _read_tokenizer_file(file)
        folder = file.parent
    else:
        vocabulary, merges = find_file(name_or_path, VOCABULARY_FILE), find_file(name_or_path, MERGES_FILE)
        if vocabulary is None or merges is None:
            lacks = VOCABULARY_FILE if vocabulary is None else MERGES_FILE
            raise InputError(f"{name_or_path} has no tokenizer: neither {TOKENIZER_FILE} nor {lacks} is there")
        tokens = _read_pair(vocabulary, merges)
        folder = vocabulary.parent

    # Files that need not be there, and tokens that must.
    for optional in (CONFIG_FILE, ADDED_TOKENS_FILE):
        if (optional_file := find_file(name_or_path, optional)) is not None:
            content = read_json_object(optional_file)
            tokens |= content.keys() if optional == ADDED_TOKENS_FILE else set()
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise InputError(f"{name_or_path}: the tokenizer lacks BART's special tokens {' '.join(missing)}")
    return folder


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        InputError: the file does not hold one.
    """
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:  # bad JSON or bad UTF-8
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no JSON object")
    return content


def _read_tokenizer_file(file: Path) -> set[str]:
    """Return the tokens of a tokenizer.json. Raises InputError."""
    model = read_json_object(file).get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        raise InputError(f"{file} is not a BPE tokenizer, which BART's is")
    try:
        return set(Tokenizer.from_file(str(file)).get_vocab())
    except Exception as error:  # tokenizers raises Exception itself
        raise _unreadable(file, error) from error


def _read_pair(vocabulary: Path, merges: Path) -> set[str]:
    """Return the tokens of a vocab.json with its merges.txt. Raises InputError."""
    tokens = set(read_json_object(vocabulary))
    try:
        BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # tokenizers raises Exception itself
        raise _unreadable(merges, error) from error
    return tokens


def _unreadable(file: Path, error: Exception) -> InputError:
    """Return the error about a file that tokenizers cannot read."""
    return InputError(f"{file} cannot be read as a BPE tokenizer: {' '.join(str(error).split())}")
