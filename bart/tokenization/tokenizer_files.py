"""Find and check the files of a byte-level BPE tokenizer before transformers reads them.

transformers does not report some errors: from a folder without tokenizer files it makes a tokenizer of five tokens, and
it gives missing special tokens new ids at the end of the vocabulary.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers.tokenization_utils_base import get_fast_tokenizer_file

from bart.errors import InputError, printable
from bart.hub import find_file
from bart.json_files import TOKENIZER_BYTES, check_size, read_json_object, shown

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# Settings that name a special token; null stands for BART's own, as if the setting were not there.
NAMED_TOKENS = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
FILES_BY_VERSION = "fast_tokenizer_files"  # a setting

CONFIG_FILE = "tokenizer_config.json"
ADDED_TOKENS_FILE = "added_tokens.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
TOKENIZER_FILE = "tokenizer.json"  # a complete tokenizer in one file
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"  # the older format, a pair of files

_MOST_ADDED = 100_000  # tokens: so many take seconds
_MOST_SPECIAL = 1000  # of a list: transformers searches all of it for each of its tokens
_LARGEST_ID = 2**31 - 1

# What the libraries raise for a file that is JSON, but not what they expect.
_RAISED = (
    ValueError,  # transformers: an unknown word for a side; tokenizers: a stride that is as long as the pieces
    TypeError,  # both: a value of another type, or an argument that AddedToken does not have
    KeyError,  # transformers: a key that it takes for granted, in tokenizer.json for example added_tokens
    AttributeError,  # transformers: a list for an object, or a setting with the name of a method
    OverflowError,  # tokenizers: a number beyond the 32 or 64 bits that it has for it
)
_PANIC = "PanicException"  # of pyo3, for a failed assertion in tokenizers; no module exports this BaseException


@contextmanager
def refuse_what_libraries_raise(path: Path) -> Iterator[None]:
    """Raise InputError about a file or folder if tokenizers or transformers cannot make a tokenizer of it."""
    try:
        yield
    except InputError:
        raise
    except _RAISED as error:
        raise _unreadable(path, error) from error
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != _PANIC:  # tokenizers raises Exception itself
            raise
        raise _unreadable(path, error) from error


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

    config = find_file(name_or_path, CONFIG_FILE)
    tokenizer_file = TOKENIZER_FILE if config is None else _check_config(config)

    # The vocabulary, from either format.
    if (file := find_file(name_or_path, tokenizer_file)) is not None:
        tokens = _read_tokenizer_file(file)
        folder = file.parent
    else:
        vocabulary, merges = find_file(name_or_path, VOCABULARY_FILE), find_file(name_or_path, MERGES_FILE)
        if vocabulary is None or merges is None:
            lacks = VOCABULARY_FILE if vocabulary is None else MERGES_FILE
            raise InputError(f"{name_or_path} has no tokenizer: neither {tokenizer_file} nor {lacks} is there")
        tokens = _read_pair(vocabulary, merges)
        folder = vocabulary.parent

    # Files that need not be there, and tokens that must.
    if (added := find_file(name_or_path, ADDED_TOKENS_FILE)) is not None:
        tokens |= read_ids(added, _MOST_ADDED).keys()
    if (special := folder / SPECIAL_TOKENS_FILE).is_file():
        _check_settings(special, read_json_object(special))
    missing = [token for token in SPECIAL_TOKENS if token not in tokens]
    if missing:
        raise InputError(f"{name_or_path}: the tokenizer lacks BART's special tokens {' '.join(missing)}")
    return folder


def _read_tokenizer_file(file: Path) -> set[str]:
    """Return the tokens of a tokenizer.json. Raises InputError."""
    content = read_json_object(file, TOKENIZER_BYTES)
    model, normalizer, added = content.get("model"), content.get("normalizer"), content.get("added_tokens")
    # Files of tokenizers < 0.9 do not say their type; BPE alone has merges.
    if not isinstance(model, dict) or model.get("type", "BPE" if "merges" in model else None) != "BPE":
        raise InputError(f"{file} is not a BPE tokenizer, which BART's is")
    if "Precompiled" in repr(normalizer):
        raise InputError(f"{file} is a tokenizer of SentencePiece: BART's has no normalizer")
    if not isinstance(added, list) or len(added) > _MOST_ADDED:
        raise InputError(f"{file}: added_tokens={shown(added)}: it must be a list of up to {_MOST_ADDED:,} tokens")
    with refuse_what_libraries_raise(file):
        return set(Tokenizer.from_file(str(file)).get_vocab())


def _read_pair(vocabulary: Path, merges: Path) -> set[str]:
    """Return the tokens of a vocab.json with its merges.txt. Raises InputError."""
    tokens = set(read_ids(vocabulary))
    check_size(merges, TOKENIZER_BYTES)
    with refuse_what_libraries_raise(merges):
        BPE.from_file(str(vocabulary), str(merges))
    return tokens


def read_ids(file: Path, most: int | None = None) -> dict[str, int]:
    """Return the ids of a file by their tokens. Raises InputError, also if there are more than ``most``."""
    ids = read_json_object(file, TOKENIZER_BYTES)
    if most is not None and len(ids) > most:
        raise InputError(f"{file}: has {len(ids):,} tokens; up to {most:,} can be added to a vocabulary")
    for token, token_id in ids.items():
        if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id <= _LARGEST_ID:
            raise InputError(f"{file}: the id of {shown(token)} is {shown(token_id)}; it must be a whole number from 0")
    return ids


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_token(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("content"), str))


def _is_token_or_null(value: object) -> bool:
    return value is None or _is_token(value)


def _are_tokens(value: object) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return value is None or (isinstance(value, list) and len(value) <= _MOST_SPECIAL and all(map(_is_token, value)))


def _is_length(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value >= 1)


def _is_side(value: object) -> bool:
    return value in ("left", "right")


def _is_switch(value: object) -> bool:
    return value is None or isinstance(value, bool)


def _are_files(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) and not {*name} & {*"/\\\0"} for name in value)


def _are_inputs(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and {"input_ids", "attention_mask"} <= set(value)


# Settings of tokenizer_config.json and special_tokens_map.json: what they must be.
_SETTINGS: dict[str, tuple[Callable[[object], bool], str]] = {
    **dict.fromkeys(
        NAMED_TOKENS,
        (_is_token_or_null, "a token (a text, or an object with its content) or null"),
    ),
    **dict.fromkeys(
        ("additional_special_tokens", "extra_special_tokens"),
        (_are_tokens, f"a list of up to {_MOST_SPECIAL:,} tokens"),
    ),
    **dict.fromkeys(("model_max_length", "max_len"), (_is_length, "a number of tokens from 1")),
    **dict.fromkeys(("padding_side", "truncation_side"), (_is_side, "left or right")),
    **dict.fromkeys(
        ("add_prefix_space", "trim_offsets", "split_special_tokens", "clean_up_tokenization_spaces"),
        (_is_switch, "true or false"),
    ),
    FILES_BY_VERSION: (_are_files, "a list of names of files in this folder"),
    "model_input_names": (_are_inputs, "a list with input_ids and attention_mask"),
}
# Arguments of transformers' code that the file of a tokenizer does not have: they would replace the vocabulary.
_NO_SETTINGS = (
    *("vocab", "merges", "tokenizer_object", "gguf_file", "trust_remote_code"),
    *("post_processor", "tokenizer_truncation", "tokenizer_padding", "_json_truncation", "_json_padding"),
)


def _check_config(file: Path) -> str:
    """Check a tokenizer_config.json, and return the name of the tokenizer.json that counts. Raises InputError.

    ``fast_tokenizer_files`` may list others, each for the versions of transformers from that in its name on.
    """
    settings = read_json_object(file)
    _check_settings(file, settings)
    if FILES_BY_VERSION not in settings:
        return TOKENIZER_FILE
    with refuse_what_libraries_raise(file):
        name: str = get_fast_tokenizer_file(settings[FILES_BY_VERSION])
    return name


def _check_settings(file: Path, settings: dict[str, Any]) -> None:
    """Check what is in a tokenizer_config.json or a special_tokens_map.json. Raises InputError."""
    for name, value in settings.items():
        is_sound, wanted = _SETTINGS.get(name, (None, ""))
        if is_sound is not None and not is_sound(value):
            raise InputError(f"{file}: {name}={shown(value)}: it must be {wanted}")
        if name in _NO_SETTINGS and value:
            raise InputError(f"{file}: {name}={shown(value)}: is no setting of a BART tokenizer; leave it out")


def _unreadable(path: Path, error: BaseException) -> InputError:
    """Return the error about a file or folder of which no tokenizer can be made."""
    reason = printable(str(error), 300) or type(error).__name__
    return InputError(f"{path} cannot be read as a BPE tokenizer: {reason}")
