"""Which table files hold which split, told by their names: in a folder, or in a repository of the hub."""

import re
from collections.abc import Iterable, Mapping

from bart.errors import InputError

SPLITS = {"train": ("train",), "val": ("val", "validation", "valid", "dev"), "test": ("test",)}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".json.gz")
_SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}
_SUFFIX = "|".join(re.escape(suffix) for suffix in SUFFIXES)
# train.csv; a shard as the hub names it, train-00000-of-00003.parquet, in older data sets with a hash behind; and, as
# the hub's own conversion to Parquet has it, train/0000.parquet.
_TABLE = re.compile(
    rf"(?:(?P<folder>.*)/)?(?P<split>{'|'.join(_SPLIT_OF)})"
    rf"(?:-(?P<number>\d+)-of-(?P<count>\d+)(?:-[0-9a-f]+)?(?P<shard_suffix>{_SUFFIX})|/\d+\.parquet|(?P<suffix>{_SUFFIX}))"
)

Tables = dict[str, list[str]]  # names by split, those of one split in the order of their rows


def find_tables(names: Iterable[str]) -> dict[str, Tables]:
    """The tables among the names of files, by the folder that they are in ("" for none)."""
    tables: dict[str, Tables] = {}
    for name in sorted(names):
        if match := _TABLE.fullmatch(name):
            tables.setdefault(match["folder"] or "", {}).setdefault(_SPLIT_OF[match["split"]], []).append(name)
    return tables


def choose_config(tables: Mapping[str, Tables], config: str | None, where: str) -> Tables:
    """The tables of a configuration, which is a folder; without a name, of the only one or of one with a usual name.

    Raises InputError, beginning with ``where``, where it is not there or where there are several to choose from.
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
    asked = "several configurations" if config is None else f"no one configuration {config}"
    raise InputError(f"{where} has {asked}: it has tables in the folders {there}; give one as OWNER/NAME:FOLDER")


def check_whole(tables: Tables, where: str) -> None:
    """Raise InputError, beginning with ``where``, where a split is there twice or not whole."""
    for split, names in tables.items():
        found = [match for name in names if (match := _TABLE.fullmatch(name))]
        shown = ", ".join(names[:4])
        kinds = {(match["split"], match["suffix"] or match["shard_suffix"], match["count"]) for match in found}
        if len(kinds) > 1:
            raise InputError(f"{where}: the split {split} is there more than once: {shown}; keep one")
        if found[0]["count"] is None:
            continue
        count, numbers = int(found[0]["count"]), {int(match["number"]) for match in found}
        if missing := set(range(count)) - numbers:
            raise InputError(f"{where}: of {count} files of the split {split}, number {min(missing)} is missing")
        if len(found) > count:
            raise InputError(f"{where}: the split {split} has files of the same number: {shown}; keep one of each")
