"""Open DATA_DIR: a folder of line files, a folder of tables, or a data set of the hub.

Training and evaluation read line files. The tables of a split are turned into line files once and kept in
``<data folder>/.prepared/lines-<split>-<key>`` (see utils/io/artifact_cache.py), those of the hub in the user's cache.
The key is computed from the content of the tables and the columns, so processes that find the same use one folder.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError

from ..io.artifact_cache import cache_place, get_or_create, places_of
from ..io.json_files import read_json, write_json
from ..runtime.world import process_rank
from .formats.hub import HubDataset, HubTables, HubUnreachable, list_tables
from .formats.line_corpus import write_split
from .formats.table_names import check_complete, find_tables
from .formats.tables import AskedColumns, find_columns, read_tables
from .splits import Rows, line_file

FORMAT = 1  # of the kept folders; raise it to have them made anew
LINES_HEADER = "lines.json"
_SIDES = ("source", "target")
_HUB_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>[^:\s]+))?(?::(?P<config>\S+))?", re.ASCII)


@dataclass(frozen=True)
class DataFolder:
    """A folder of line files and tables."""

    folder: Path
    columns: AskedColumns
    tables: dict[str, list[Path]]  # of each split without line files

    def has(self, split: str) -> bool:
        """Tell whether a split is there, at least in part."""
        return split in self.tables or any(line_file(self.folder, split, side).exists() for side in _SIDES)

    def check_has(self, splits: Iterable[str]) -> None:
        """Raise InputError if a split is missing; does no expensive work, so call it first."""
        for split in splits:
            if not self.has(split):
                raise InputError(
                    f"{self.folder / split}.source: No such file or directory; a data folder holds {split}.source and "
                    f"{split}.target, or a table: {split}.csv, .tsv, .jsonl or .parquet (see also --split)"
                )

    def lines_of(self, split: str) -> Path:
        """Return the folder that holds the line files of a split, made of its tables if it has any.

        Raises InputError if a table is unreadable or changes meanwhile, or if nothing can be written.
        """
        if split not in self.tables:
            return self.folder  # if they are missing, reading them says so
        paths = self.tables[split]
        stamps = list(map(_stamp, paths))
        content = key_of([FORMAT, [[_digest(path), "".join(path.suffixes)] for path in paths]])

        def write(part: Path) -> None:
            _write_lines(part, split, paths, self.columns, str(self.folder))
            if list(map(_stamp, paths)) != stamps:
                raise InputError(f"{paths[0]}: was changed while it was read; start again when it is complete")

        def delete_outdated(place: Path) -> None:
            for folder in place.glob(f"lines-{split}-*"):
                if not folder.name.startswith(f"lines-{split}-{content}"):  # its tables have changed since
                    shutil.rmtree(folder, ignore_errors=True)

        name = f"lines-{split}-{content}-{key_of(self.columns)}"
        return get_or_create(places_of(self.folder), name, "line files", complete_lines, write, delete_outdated)

    def rows_of(self, split: str) -> Rows | None:
        """Return None: line i is row i of the user's own file."""
        return None


@dataclass(frozen=True)
class HubData:
    """A data set of the hub."""

    dataset: HubDataset
    columns: AskedColumns
    place: Path  # in the user's cache
    tables: HubTables

    def has(self, split: str) -> bool:
        """Tell whether a split is there, at least in part."""
        return split in self.tables.names

    def check_has(self, splits: Iterable[str]) -> None:
        """Raise InputError if a split is missing; downloads nothing, so call it first."""
        for split in splits:
            self.tables.check_has(self.dataset, split)

    def lines_of(self, split: str) -> Path:
        """Return the folder that holds the line files of a split; downloads it if it is not in the cache.

        Raises InputError if that fails.
        """

        def write(part: Path) -> None:
            paths = [file.path for file in self.tables.download(self.dataset, split)]
            _write_lines(part, split, paths, self.columns, f"{self.dataset.name} at {self.tables.commit}")

        key = key_of([FORMAT, self.tables.commit, self.tables.names.get(split), self.columns])
        name = f"lines-{split}-{key}"
        return get_or_create([self.place], name, "line files", complete_lines, write, lambda place: None)

    def rows_of(self, split: str) -> Rows | None:
        """Return None: line i is row i of the data set."""
        return None


def open_data(data_dir: str, columns: AskedColumns) -> DataFolder | HubData:
    """Open the folder ``data_dir``, or a data set of the hub if neither it nor the folder above it exists.

    Raises InputError if a split is there twice or in part, if columns are named but there is no table, or if the hub
    has no such data set.
    """
    folder = Path(data_dir)
    if folder.is_file():
        raise InputError(f"{data_dir}: is a file; give its folder, or if it is a table --split to divide its rows")
    match = match_hub_id(data_dir)
    if match is not None:
        return _open_hub(match, columns)
    tables = {split: paths for split, paths in _tables_in(folder).items() if not _has_lines(folder, split)}
    if any(columns) and folder.is_dir() and not tables:
        raise InputError(
            f"--text_column and --summary_column: {folder} has no table for them (line files are read before tables); "
            "omit them, or move the line files away"
        )
    return DataFolder(folder, columns, tables)


def _tables_in(folder: Path) -> dict[str, list[Path]]:
    """Find the tables of each split. Raises InputError if a split without line files has them twice or in part."""
    if not folder.is_dir():
        return {}
    try:
        paths = [*folder.iterdir(), *folder.glob("*/*.parquet")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
    tables = find_tables(path.relative_to(folder).as_posix() for path in paths if path.is_file()).get("", {})
    check_complete({split: names for split, names in tables.items() if not _has_lines(folder, split)}, str(folder))
    return {split: [folder / name for name in names] for split, names in tables.items()}


def match_hub_id(data_dir: str) -> re.Match[str] | None:
    """Match a data set of the hub: its ``name``, and its ``revision`` and ``config`` or None. None if it is a path."""
    path = Path(data_dir)
    is_path = path.exists() or path.parent.is_dir()  # a missing data/cnn_dm is a path if data/ exists
    return None if is_path else _HUB_ID.fullmatch(data_dir)


def _open_hub(match: re.Match[str], columns: AskedColumns) -> HubData:
    """Look up a data set on the hub, or in the cache if the hub cannot be reached.

    Raises InputError if it is in neither.
    """
    name = match["name"]
    dataset = HubDataset(
        name, match["config"], match["revision"], f"{name}@REVISION", f"give a folder of your own ({name} is none here)"
    )

    # Ask the hub for the tables, and remember its answer for a time without it.
    place = cache_place(f"the hub's {name}")
    remembered = place / f"tables-{key_of([FORMAT, match['config'], match['revision']])}.json"
    try:
        tables = list_tables(dataset)
    except HubUnreachable:
        if not remembered.exists():
            raise
        tables = HubTables(**read_json(remembered))
        if process_rank() == 0:
            print(f"{name}: the hub cannot be reached; using the data set as last seen, at {tables.commit}", flush=True)
        return HubData(dataset, columns, place, tables)
    with suppress(OSError, InputError):  # get_or_create reports a cache that cannot be written
        place.mkdir(parents=True, exist_ok=True)
        write_json(remembered, asdict(tables))
    return HubData(dataset, columns, place, tables)


def _write_lines(part: Path, split: str, paths: list[Path], asked: AskedColumns, origin: str) -> None:
    """Turn tables into line files, with a header that names both, and print which columns were used."""
    columns = find_columns(paths[0], asked)
    count, _, files = write_split(part, split, read_tables(paths, columns))
    if count == 0:
        raise InputError(f"{paths[0]}: has no rows; give at least one")
    names = [path.name for path in paths]
    write_json(part / LINES_HEADER, {"tables": names, "columns": columns._asdict(), "pairs": count, "files": files})
    print(
        f"{origin}: {count:,} {split} pairs from {names[0]}{' ...' if len(names) > 1 else ''}, texts from the column "
        f"{columns.source}, summaries from {columns.target}",
        flush=True,
    )


def complete_lines(folder: Path) -> Path | None:
    """Return the folder, or None if it or a file is missing, or if a file has another size than was written."""
    try:
        files = json.loads((folder / LINES_HEADER).read_bytes())["files"]
        if any((folder / name).stat().st_size != file["bytes"] for name, file in files.items()):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder


def _has_lines(folder: Path, split: str) -> bool:
    """Tell whether a split has line files that go before tables: not so a .txt."""
    return any((folder / f"{split}.{side}").exists() for side in _SIDES)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def key_of(parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
