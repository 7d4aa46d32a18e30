"""Find the table files of each split by their names, in a folder or in a repository of the hub."""

import re
from collections.abc import Iterable, Mapping

from bart.errors import InputError

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".json.gz")
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
_SUFFIX = "|".join(re.escape(suffix) for suffix in SUFFIXES)
# Matches train.csv; the hub's shards train-00000-of-00003.parquet, in older data sets with a hash before the suffix;
# and train/0000.parquet of the hub's own conversion to Parquet.
_TABLE = re.compile(
    rf"(?:(?P<folder>.*)/)?(?P<split>{'|'.join(_SPLIT_OF)})"
    rf"(?:-(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]+)?(?P<shard_suffix>{_SUFFIX})|/\d+\.parquet|(?P<suffix>{_SUFFIX}))"
)

Tables = dict[str, list[str]]  # file names by split, in the order of their rows


def is_table(name: str) -> bool:
    """Tell whether a file is a table, by the end of its name."""
    return name.endswith(SUFFIXES)


def find_tables(names: Iterable[str]) -> dict[str, Tables]:
    """Find the tables among file names. Returns them by their folder ("" for none)."""
    tables: dict[str, Tables] = {}
    for name in sorted(names):
        if match := _TABLE.fullmatch(name):
            tables.setdefault(match["folder"] or "", {}).setdefault(_SPLIT_OF[match["split"]], []).append(name)
    return tables


def choose_config(tables: Mapping[str, Tables], config: str | None, place: str) -> Tables:
    """Return the tables of one configuration, which is a folder.

    Args:
        tables: by folder.
        config: the name of a folder, at any level; None takes the only folder, or one with a usual name.
        place: names the folder or the data set, for messages.

    Raises:
        InputError: no folder fits, or several do.
    """
    if not tables:
        return {}
    if config is not None:
        folders = [folder for folder in tables if config in folder.split("/")]
    else:
        folders = [folder for folder in ("", "data", "default") if folder in tables][:1] or list(tables)
    if len(folders) == 1:
        return tables[folders[0]]
    there = ", ".join(folder or "(none)" for folder in sorted(tables))
    problem = ("several configurations" if folders else "no configuration") + (f" {config}" if config else "")
    raise InputError(f"{place} has {problem}: it has tables in the folders {there}; give one as OWNER/NAME:FOLDER")


def check_complete(tables: Tables, place: str) -> None:
    """Raise InputError if a split is there twice or incomplete. The message begins with ``place``."""
    for split, names in tables.items():
        found = [match for name in names if (match := _TABLE.fullmatch(name))]
        shown = ", ".join(names[:4])
        kinds = {(match["split"], match["suffix"] or match["shard_suffix"], match["count"]) for match in found}
        if len(kinds) > 1:
            raise InputError(f"{place}: the split {split} is there more than once: {shown}; keep one")
        if found[0]["count"] is None:
            continue
        count, numbers = int(found[0]["count"]), {int(match["number"]) for match in found}
        if missing := set(range(count)) - numbers:
            raise InputError(f"{place}: of {count} files of the split {split}, number {min(missing)} is missing")
        if len(found) > count:
            raise InputError(f"{place}: the split {split} has files of the same number: {shown}; keep one of each")
