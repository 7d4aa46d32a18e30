"""The index of weights that are divided into several files, the shards."""

import re
from pathlib import Path

from bart.errors import InputError
from bart.json_files import read_json_object

_MOST_SHARDS = 1000  # published BARTs have a few
_PLAIN_NAME = re.compile(r"[\w-][\w.-]{0,200}")  # of a file beside the index, not elsewhere


def read_shard_names(path: Path) -> list[str]:
    """Return the names of the files that an index names, each once.

    Raises:
        InputError: the file is not an index of shards, or names files outside its folder.
    """
    names = read_json_object(path).get("weight_map")
    if not isinstance(names, dict) or not names or not all(map(_is_plain_name, names.values())):
        raise InputError(f"{path}: not an index of shards; fetch the file again")
    shards = sorted(set(names.values()))
    if len(shards) > _MOST_SHARDS:
        raise InputError(f"{path}: names {len(shards):,} shards, as no BART has; fetch the file again")
    return shards


def _is_plain_name(name: object) -> bool:
    """Return whether this is the name of a file, without a folder."""
    return isinstance(name, str) and _PLAIN_NAME.fullmatch(name) is not None
