"""The files of a byte-level BPE tokenizer, found and checked before transformers reads them.

transformers is lenient where a user is better served by an error: from a folder without tokenizer files it makes a
tokenizer of five tokens, and special tokens that are missing get new ids at the end of the vocabulary.
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
WHOLE_FILE = "tokenizer.json"  # all of a tokenizer in one file
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"  # the older pair


def find_tokenizer(name_or_path: str | os.PathLike[str]) -> Path:
    """The local folder with the checked tokenizer files of a folder or of a model on the hub.

    Raises:
        InputError: no such folder or model, no tokenizer in it, or one that cannot be read or lacks a special token.
    """
    path = Path(name_or_path)
    if path.is_file():
        raise InputError(f"{path} is a file; give the folder that holds the tokenizer's files, or a hub id")
    if (whole := find_file(name_or_path, WHOLE_FILE)) is not None:
        tokens = _read_whole_file(whole)
        folder = whole.parent
    else:
        vocabulary, merges = find_file(name_or_path, VOCABULARY_FILE), find_file(name_or_path, MERGES_FILE)
        if vocabulary is None or merges is None:
            lacks = VOCABULARY_FILE if vocabulary is None else MERGES_FILE
            raise InputError(f"{name_or_path} has no tokenizer: neither {WHOLE_FILE} nor {lacks} is there")
        tokens = _read_pair(vocabulary, merges)
        folder = vocabulary.parent
    for optional in (CONFIG_FILE, ADDED_TOKENS_FILE):
        if (file := find_file(name_or_path, optional)) is not None:
            content = read_json_object(file)
            tokens |= content.keys() if optional == ADDED_TOKENS_FILE else set()
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise InputError(f"{name_or_path}: the tokenizer lacks BART's special tokens {' '.join(missing)}")
    return folder


def read_json_object(file: Path) -> dict[str, Any]:
    """What a JSON file holds. Raises InputError, naming it, where that is no object."""
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:  # bad JSON or bad UTF-8
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} holds no JSON object")
    return content


def _read_whole_file(file: Path) -> set[str]:
    """The tokens of a tokenizer.json."""
    model = read_json_object(file).get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE":
        raise InputError(f"{file} is not a BPE tokenizer, which BART's is")
    try:
        return set(Tokenizer.from_file(str(file)).get_vocab())
    except Exception as error:  # tokenizers raises this class itself, nothing narrower
        raise _unreadable(file, error) from error


def _read_pair(vocabulary: Path, merges: Path) -> set[str]:
    """The tokens of a vocab.json with its merges.txt."""
    tokens = set(read_json_object(vocabulary))
    try:
        BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # tokenizers raises this class itself, nothing narrower
        raise _unreadable(merges, error) from error
    return tokens


def _unreadable(file: Path, error: Exception) -> InputError:
    return InputError(f"{file} cannot be read as a BPE tokenizer: {' '.join(str(error).split())}")
