"""The texts of a split, pair by pair: line i of its target file summarizes line i of its source file."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from bart.errors import InputError

from .line_files import LineFile, iterate_lines, read_lines, scan


@dataclass
class Pairs:
    """The texts of a split: ``targets[i]`` summarizes ``sources[i]``."""

    sources: list[str]
    targets: list[str] | None  # None where there is no target file, and none is needed

    def __len__(self) -> int:
        return len(self.sources)

    def checksum(self) -> bytes:
        """Differs where a text does."""
        digest = hashlib.blake2b(digest_size=8)
        for text in (*self.sources, *(self.targets or ())):
            digest.update(text.encode() + b"\n")
        return digest.digest()


@dataclass(frozen=True)
class SplitFiles:
    """The two files of a split, checked but not held in memory."""

    split: str
    source: LineFile
    target: LineFile

    @property
    def name(self) -> str:
        """For messages."""
        return str(self.source.path.with_suffix(""))


def read_pairs(data_dir: str | Path, split: str, limit: int = -1, needs_targets: bool = True) -> Pairs:
    """Read all pairs of a split, those with an empty text too; the first ``limit``, -1 for all.

    Raises InputError where a file is missing, unreadable, empty, or longer than the other.
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
    return Pairs(sources[:end], targets[:end])


def scan_split(data_dir: str | Path, split: str) -> SplitFiles:
    """Check both files of a split in one pass over each. Raises InputError as read_pairs does."""
    paths = _paths(data_dir, split)
    source, target = (scan(path) for path in paths)
    _check_counts(paths, source.lines, target.lines)
    return SplitFiles(split, source, target)


def scan_documents(data_dir: str | Path, split: str) -> LineFile:
    """Check the source file of a split alone, for pre-training. Raises InputError where it is missing or unreadable."""
    return scan(_paths(data_dir, split)[0])


def complete_pairs(files: SplitFiles, limit: int = -1) -> Iterator[tuple[int, str, str]]:
    """Line number (from 0), source and target of the pairs to learn from: those without an empty text.

    Empty is a text of white space alone. The first ``limit`` of these pairs, -1 for all.
    """
    # Counted by scan_split; who must know that the files are still the same calls check_unchanged.
    lines = zip(iterate_lines(files.source.path), iterate_lines(files.target.path), strict=False)
    complete = (
        (number, source, target) for number, (source, target) in enumerate(lines) if source.strip() and target.strip()
    )
    return islice(complete, limit if limit >= 0 else None)


def deranged(texts: list[str], seed: int) -> list[str]:
    """The same texts, each in another's place. Raises InputError where there are fewer than two."""
    if len(texts) < 2:
        raise InputError("one example has no other's source to be given; use at least two")
    order = np.random.default_rng(seed).permutation(len(texts))
    moved = list(texts)
    for place, origin in zip(order, np.roll(order, 1), strict=True):
        moved[place] = texts[origin]
    return moved


def _paths(data_dir: str | Path, split: str) -> tuple[Path, Path]:
    return Path(data_dir) / f"{split}.source", Path(data_dir) / f"{split}.target"


def _check_counts(paths: tuple[Path, Path], sources: int, targets: int) -> None:
    if sources != targets:
        raise InputError(
            f"{paths[0]} has {sources} lines, {paths[1]} has {targets}; line i of both must be one example"
        )
    if sources == 0:
        raise InputError(f"{paths[0]}: is empty; give at least one example")
