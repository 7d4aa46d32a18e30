"""Read the pairs of a split: line i of its target file summarizes line i of its source file."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from bart.errors import InputError

from .line_files import LineFile, iterate_lines, read_lines, scan

# The line files of a split, by what follows its name: the first that is there is read. Texts alone may be in a .txt.
_ENDINGS = {"source": (".source", ".source.txt", ".txt"), "target": (".target", ".target.txt")}


@dataclass(frozen=True)
class Rows:
    """Tells where the lines of a split were before --split has divided a file."""

    path: Path  # of the sources
    numbers: np.ndarray  # (lines,) int64, the line of each there, from 0


@dataclass
class Pairs:
    """The texts of a split: ``targets[i]`` summarizes ``sources[i]``."""

    sources: list[str]
    targets: list[str] | None  # None if there is no target file and none is needed
    rows: Rows | None = None  # None if line i is row i of the user's own file

    def __len__(self) -> int:
        return len(self.sources)

    def checksum(self) -> bytes:
        """Return a digest that changes if a text does."""
        digest = hashlib.blake2b(digest_size=8)
        for text in (*self.sources, *(self.targets or ())):
            digest.update(text.encode() + b"\n")
        return digest.digest()


@dataclass(frozen=True)
class SplitFiles:
    """The two files of a split: checked, but not held in memory."""

    split: str
    source: LineFile
    target: LineFile
    rows: Rows | None = None  # None if line i is row i of the user's own file

    @property
    def name(self) -> str:
        """Path of both files without their suffixes, for messages."""
        return str(self.source.path.parent / self.split) if self.rows is None else f"{self.split} of {self.rows.path}"


def line_file(data_dir: str | Path, split: str, side: str) -> Path:
    """Return the path of the sources or the targets of a split, under the usual name if no file is there."""
    paths = [Path(data_dir) / f"{split}{ending}" for ending in _ENDINGS[side]]
    return next((path for path in paths if path.exists()), paths[0])


def read_pairs(
    data_dir: str | Path, split: str, limit: int = -1, needs_targets: bool = True, rows: Rows | None = None
) -> Pairs:
    """Read the first ``limit`` pairs of a split, -1 for all. A text may be empty.

    Raises InputError if a file is missing, unreadable or empty, or if one is longer than the other.
    """
    paths = _paths(data_dir, split)
    end = limit if limit >= 0 else None
    sources = read_lines(paths[0])
    if not needs_targets and not paths[1].exists():
        if not sources:
            raise InputError(f"{paths[0]}: is empty; give at least one text")
        return Pairs(sources[:end], None)
    targets = read_lines(paths[1])
    _check_counts(paths, len(sources), len(targets))
    return Pairs(sources[:end], targets[:end], rows and Rows(rows.path, rows.numbers[:end]))


def scan_split(data_dir: str | Path, split: str, rows: Rows | None = None) -> SplitFiles:
    """Check both files of a split in one pass over each. Raises InputError as read_pairs does."""
    paths = _paths(data_dir, split)
    source, target = (scan(path) for path in paths)
    _check_counts(paths, source.lines, target.lines)
    return SplitFiles(split, source, target, rows)


def scan_documents(data_dir: str | Path, split: str) -> LineFile:
    """Check only the source file of a split, for pre-training. Raises InputError if it is missing or unreadable."""
    return scan(_paths(data_dir, split)[0])


def complete_pairs(files: SplitFiles, limit: int = -1) -> Iterator[tuple[int, str, str]]:
    """Yield line number (from 0), source and target of the first ``limit`` pairs that have both texts; -1 for all.

    A text of white space alone counts as missing.
    """
    # scan_split has checked that both files have as many lines. A caller that needs them unchanged since then asks
    # their check_unchanged.
    lines = zip(iterate_lines(files.source.path), iterate_lines(files.target.path), strict=False)
    complete = (
        (number, source, target) for number, (source, target) in enumerate(lines) if source.strip() and target.strip()
    )
    return islice(complete, limit if limit >= 0 else None)


def deranged(texts: list[str], seed: int) -> list[str]:
    """Shuffle texts so that none keeps its place. Raises InputError if there are fewer than two."""
    if len(texts) < 2:
        raise InputError("one example cannot get the source of another; use at least two")
    order = np.random.default_rng(seed).permutation(len(texts))
    moved = list(texts)
    for place, origin in zip(order, np.roll(order, 1), strict=True):
        moved[place] = texts[origin]
    return moved


def _paths(data_dir: str | Path, split: str) -> tuple[Path, Path]:
    source, target = (line_file(data_dir, split, side) for side in _ENDINGS)
    if source.name == f"{split}.txt":
        _check_no_json(source)
    return source, target


def _check_no_json(path: Path) -> None:
    """Raise InputError if a .txt is JSON Lines, as those of arXiv and PubMed are: its lines are no texts."""
    first = next(iterate_lines(path), "")
    try:
        is_row = first.startswith("{") and isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return
    if is_row:
        raise InputError(
            f"{path}: line 1 is a JSON object; rename the file to {path.stem}.jsonl if it is a table, or to "
            f"{path.stem}.source if its lines are the texts"
        )


def _check_counts(paths: tuple[Path, Path], sources: int, targets: int) -> None:
    if sources != targets:
        raise InputError(
            f"{paths[0]} has {sources} lines, {paths[1]} has {targets}; line i of both must be one example"
        )
    if sources == 0:
        raise InputError(f"{paths[0]}: is empty; give at least one example")
