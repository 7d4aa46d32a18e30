"""Give examples by number: source and target tokens of pairs, of corrupted texts, or of both joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from .denoising import Noise
from .tokens.token_array import TokenStore


class Examples(Protocol):
    """Numbers the examples to learn from, from 0, and knows their lengths beforehand."""

    source_lengths: np.ndarray  # (examples,) tokens of each; of a source that will be corrupted, before that
    target_lengths: np.ndarray  # (examples,)

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return source and target tokens. ``epoch`` matters if an example differs from one epoch to the next."""

    def origin(self, index: int) -> "Place":
        """Return the place of the example's text, for messages."""

    def checksum(self) -> int:
        """Return a number that changes if a token does."""


class Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int  # from 1

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


@dataclass
class Origin:
    """Finds the line that an example was read from."""

    path: Path
    lines: np.ndarray  # (examples,) number of the line of each, from 0

    def __call__(self, index: int) -> Place:
        """Return the place of an example's text."""
        return Place(self.path, int(self.lines[index]) + 1)


def places(examples: Examples, indices: Sequence[int]) -> str:
    """List where the texts of some examples stand, for a message: each file with its line numbers."""
    by_path: dict[Path, list[int]] = {}
    for place in map(examples.origin, indices):
        by_path.setdefault(place.path, []).append(place.line)
    return " and ".join(
        f"{path}, {'lines' if len(lines) > 1 else 'line'} {', '.join(map(str, sorted(lines)))}"
        for path, lines in by_path.items()
    )


class PairExamples:
    """Texts and their summaries."""

    def __init__(self, sources: TokenStore, targets: TokenStore, origin: Origin) -> None:
        self.sources, self.targets, self.origin = sources, targets, origin
        self.source_lengths, self.target_lengths = sources.lengths, targets.lengths

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return self.sources[index], self.targets[index]

    def checksum(self) -> int:
        return self.sources.checksum() ^ self.targets.checksum()


class DenoisingExamples:
    """Corrupted texts and the original texts."""

    def __init__(self, texts: TokenStore, noise: Noise, origin: Origin) -> None:
        self._texts, self._noise, self.origin = texts, noise, origin
        self.source_lengths = self.target_lengths = texts.lengths

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return self._noise.corrupt(self._texts[index], epoch, index), self._texts[index]

    def checksum(self) -> int:
        return self._texts.checksum()


class JoinedExamples:
    """The examples of ``first``, followed by those of ``second``."""

    def __init__(self, first: Examples, second: Examples) -> None:
        self._first, self._second = first, second
        self._boundary = len(first.source_lengths)
        self.source_lengths = np.concatenate([first.source_lengths, second.source_lengths])
        self.target_lengths = np.concatenate([first.target_lengths, second.target_lengths])

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if index < self._boundary:
            return self._first.example(index, epoch)
        return self._second.example(index - self._boundary, epoch)

    def origin(self, index: int) -> Place:
        return self._first.origin(index) if index < self._boundary else self._second.origin(index - self._boundary)

    def checksum(self) -> int:
        return self._first.checksum() ^ self._second.checksum()
