"""Divide one table, or one pair of line files, into train, val and test.

The split of a pair follows from a hash of its text alone. So it is the same in every program, it stays when rows are
added, moved or deleted, and texts that are equal are in one split.
"""

import codecs
import hashlib
import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from bart.errors import InputError

from ..cli.shared_args import Shares
from ..io.artifact_cache import get_or_create, places_of
from ..io.json_files import read_json, write_json
from ..runtime.world import process_rank
from .formats.table_names import SPLITS, is_table
from .formats.tables import AskedColumns
from .sources import LINES_HEADER, DataFolder, HubData, complete_lines, key_of, open_data
from .splits import Pairs, Rows, SplitFiles, line_file, read_pairs, scan_split

FORMAT = 1  # of the kept folders; raise it to have them made anew
_WHOLE = "train"  # the split that is divided
_SIDES = ("source", "target")


@dataclass(frozen=True)
class DividedData:
    """Data with pairs of one file, which shares of them divide."""

    whole: DataFolder | HubData
    shares: Shares
    name: str  # DATA_DIR, for messages

    def has(self, split: str) -> bool:
        """Tell whether a split gets pairs."""
        return dict(zip(SPLITS, self.shares, strict=True))[split] > 0

    def check_has(self, splits: Iterable[str]) -> None:
        """Raise InputError if a split gets no pairs; does no expensive work, so call it first."""
        for split in splits:
            if not self.has(split):
                raise InputError(f"--split {self._given}: gives no pair of {self.name} to {split}; give it a share")

    def lines_of(self, split: str) -> Path:
        """Return the folder that holds the line files of a split. Raises InputError as those of the whole file do."""
        return self._folder

    def rows_of(self, split: str) -> Rows:
        """Return where the lines of a split are in the file that was divided."""
        return Rows(self._source, np.load(self._folder / _rows_file(split)))

    @cached_property
    def _source(self) -> Path:
        return line_file(self.whole.lines_of(_WHOLE), _WHOLE, "source")

    @cached_property
    def _folder(self) -> Path:
        """Divide the file if that was not done yet, and say in one line how many pairs each split has."""
        files = scan_split(self._source.parent, _WHOLE)
        content = key_of([FORMAT, files.source.digest, files.target.digest])

        def delete_outdated(place: Path) -> None:
            for folder in place.glob("split-*"):
                if not folder.name.startswith(f"split-{content}"):  # its file has changed since
                    shutil.rmtree(folder, ignore_errors=True)

        folder = get_or_create(
            places_of(self._source.parent),
            f"split-{content}-{key_of(self.shares)}",
            "line files",
            complete_lines,
            lambda part: _write(part, files, self.shares),
            delete_outdated,
        )
        counts = read_json(folder / LINES_HEADER)["pairs"]
        for split, count in counts.items():
            if count == 0 and self.has(split):
                raise InputError(
                    f"--split {self._given}: none of the {files.source.lines:,} pairs of {self.name} falls to {split};"
                    " give it a larger share, or add pairs"
                )
        if process_rank() == 0:
            numbers = ", ".join(f"{count:,} {split}" for split, count in counts.items())
            print(f"{self.name}: {files.source.lines:,} pairs, divided by a hash of the text: {numbers}", flush=True)
        return folder

    @property
    def _given(self) -> str:
        return ",".join(f"{share:g}" for share in self.shares)


def open_splits(data_dir: str, columns: AskedColumns, shares: Shares | None) -> DataFolder | HubData | DividedData:
    """Open DATA_DIR as ``open_data`` does; with shares, divide its only split, or the table that it is itself.

    Raises InputError as ``open_data`` does, or if there is more than one split to divide.
    """
    if shares is None:
        return open_data(data_dir, columns)
    path = Path(data_dir)
    if path.is_file() and is_table(path.name):
        whole: DataFolder | HubData = DataFolder(path, columns, {_WHOLE: [path]})
    else:
        whole = open_data(data_dir, columns)
    whole.check_has([_WHOLE])
    for split in SPLITS:
        if split != _WHOLE and whole.has(split):
            raise InputError(f"--split: {data_dir} has a {split} split already; omit --split, or move its files away")
    return DividedData(whole, shares, data_dir)


def read_split(
    data_dir: str,
    split: str,
    columns: AskedColumns,
    shares: Shares | None,
    limit: int = -1,
    needs_targets: bool = True,
) -> Pairs:
    """Read one split of DATA_DIR. Raises InputError as ``open_splits`` and ``read_pairs`` do."""
    data = open_splits(data_dir, columns, shares)
    data.check_has([split])
    return read_pairs(data.lines_of(split), split, limit, needs_targets, data.rows_of(split))


def split_of(text: str, shares: Shares) -> str:
    """Return the split of a pair with this text; an empty text goes to train, which leaves such pairs out."""
    text = text.strip()
    place = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64  # 0 to 1
    train, val, test = shares
    if not text or place < train:
        return "train"
    return "val" if place < train + val or test == 0 else "test"


def _write(part: Path, files: SplitFiles, shares: Shares) -> None:
    """Write line files for all splits, and for each the numbers of its rows in the file that is divided."""
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    with ExitStack() as stack:
        sides = [stack.enter_context(file.path.open("rb")) for file in (files.source, files.target)]
        written = {
            split: [stack.enter_context((part / f"{split}.{side}").open("wb")) for side in _SIDES] for split in SPLITS
        }
        for number, lines in enumerate(zip(*sides, strict=False)):  # of equal length, as scan_split says
            if number == 0:
                lines = tuple(line.removeprefix(codecs.BOM_UTF8) for line in lines)
            split = split_of(lines[0].decode(errors="replace"), shares)
            _append(written[split], lines, is_first=not rows[split])
            rows[split].append(number)
        for file in (file for pair in written.values() for file in pair):
            file.flush()
            os.fsync(file.fileno())
    files.source.check_unchanged()
    files.target.check_unchanged()

    for split, numbers in rows.items():
        np.save(part / _rows_file(split), np.array(numbers, dtype=np.int64))
    sizes = {path.name: {"bytes": path.stat().st_size} for path in part.iterdir()}
    write_json(part / LINES_HEADER, {"pairs": {split: len(numbers) for split, numbers in rows.items()}, "files": sizes})


def _append(pair: Sequence[IO[bytes]], lines: Sequence[bytes], is_first: bool) -> None:
    for file, line in zip(pair, lines, strict=True):
        if is_first and line.startswith(codecs.BOM_UTF8):  # which is text here: reading drops the first one of a file
            file.write(codecs.BOM_UTF8)
        file.write(line.removesuffix(b"\n") + b"\n")


def _rows_file(split: str) -> str:
    return f"{split}.rows.npy"
