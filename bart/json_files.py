"""Read JSON files that others wrote, and write some: the one place that knows in which ways such a file can be bad.

A file may be too large, nested too deeply, cut short, no UTF-8, have a key twice, a number that is none, or half a
character. Each of these is an InputError of one line. What comes out can be compared, copied, printed and written.
"""

import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from bart.errors import InputError, printable

SETTINGS_BYTES = 2**22  # of a file of settings: published ones have a few kilobytes
TOKENIZER_BYTES = 2**25  # of a tokenizer file: a tokenizer.json of 130,000 tokens has 17 MB

_MOST_LEVELS = 50  # of lists and objects within each other: published files have up to 6
# A value takes up to 200 bytes of memory. Published files have more than 16 bytes of text for each, on average.
_BYTES_PER_VALUE = 16
_HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")  # half of a pair, which may lack its other half
_LONGEST_SHOWN = 60  # characters


class _Unsuitable(ValueError):
    """JSON that Python reads, but that is of no use here."""


def read_json_object(path: str | os.PathLike[str], most_bytes: int = SETTINGS_BYTES) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Args:
        path: of the file.
        most_bytes: a larger file is refused unread.

    Raises:
        InputError: the file cannot be read, or holds anything else; see ``read_json``.
    """
    values = read_json(path, most_bytes)
    if not isinstance(values, dict):
        raise InputError(f"{os.fspath(path)} holds no JSON object: it begins with a {_KINDS[type(values)]}")
    return values


def read_json(path: str | os.PathLike[str], most_bytes: int) -> Any:
    """Read a file that holds one JSON value.

    Of the numbers that JSON does not know, -Infinity is read, since transformers writes it for a bias.

    Args:
        path: of the file.
        most_bytes: a larger file is refused unread.

    Raises:
        InputError: the file cannot be read, is too large, or is not JSON; it has a key twice, NaN or Infinity, a number
            that is too large, half a character, or too many levels or values.
    """
    content = _read_bytes(Path(path), most_bytes)
    try:
        text = content.decode("utf-8")
        if text.startswith("\ufeff"):
            raise _Unsuitable("it begins with a byte order mark; save it as UTF-8 without one")
        values = json.loads(text, object_pairs_hook=_as_dict, parse_float=_as_float, parse_constant=_as_constant)
        _check_levels(values)
        if _HALF_CHARACTER.search(text):
            json.dumps(values, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{os.fspath(path)} is not JSON: it has half a character, such as \\ud800") from error
    except RecursionError as error:
        raise InputError(f"{os.fspath(path)} is not JSON: {_TOO_DEEP}") from error
    except ValueError as error:  # bad JSON, bad UTF-8, or a whole number of more digits than Python reads
        raise InputError(f"{os.fspath(path)} is not JSON: {error}") from error
    return values


def check_size(path: Path, most_bytes: int) -> None:
    """Check that a file is not larger than any of its kind. Raises InputError."""
    if path.stat().st_size > most_bytes:
        raise _too_large(path, most_bytes)


def shown(value: object) -> str:
    """Return how a value of a file is shown in a message: as Python writes it, cut if it is long."""
    return printable(repr(value), _LONGEST_SHOWN)


_TOO_DEEP = f"it has more than {_MOST_LEVELS} levels of lists and objects"
_KINDS = {list: "list", str: "text", int: "number", float: "number", bool: "truth value", type(None): "null"}


def _read_bytes(path: Path, most_bytes: int) -> bytes:
    """Return the content of a file. Raises InputError if it is too large, or holds too many values for its size."""
    try:
        with open(path, "rb") as file:
            content = file.read(min(os.fstat(file.fileno()).st_size or most_bytes, most_bytes) + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > most_bytes:
        raise _too_large(path, most_bytes)
    most_values = most_bytes // _BYTES_PER_VALUE
    if sum(content.count(mark) for mark in (b",", b"[", b"{")) > most_values:
        raise InputError(f"{path}: has more than {most_values:,} values, more than any such file; fetch it again")
    return content


def _too_large(path: Path, most_bytes: int) -> InputError:
    """Return the error about a file that is too large to be of its kind."""
    return InputError(f"{path}: is larger than {most_bytes // 2**20} MiB, as no such file is; fetch it again")


def _as_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of an object. Readers differ in which of two equal keys counts, so neither does."""
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Unsuitable(f"the key {shown(twice)} is there twice; delete one")
    return values


def _as_float(digits: str) -> float:
    """Make a float of the text of a number."""
    number = float(digits)
    if math.isinf(number):
        raise _Unsuitable(f"{shown(digits)} is too large a number")
    return number


def _as_constant(name: str) -> float:
    """Return -Infinity; refuse the other two words that Python reads as numbers."""
    if name != "-Infinity":
        raise _Unsuitable(f"{name} is no number of JSON")
    return -math.inf


def _check_levels(values: Any) -> None:
    """Check that lists and objects are not nested too deeply, without nesting calls."""
    level = [values] if isinstance(values, list | dict) else []
    for _ in range(_MOST_LEVELS):
        parts = [value.values() if isinstance(value, dict) else value for value in level]
        level = [inner for part in parts for inner in part if isinstance(inner, list | dict)]
        if not level:
            return
    raise _Unsuitable(_TOO_DEEP)


def write_json_object(values: dict[str, Any], path: Path) -> None:
    """Write a JSON object, with the keys in their order. Raises OSError."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
