"""What is learnt from: pairs of token arrays, from texts and their summaries or from corrupted texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from .denoising import Noise
from .tokens.token_array import TokenStore


class Examples(Protocol):
    """What is learnt from: pairs of token arrays by number, from 0, whose lengths are known beforehand."""

    source_lengths: np.ndarray  # tokens of each example; of a source that is corrupted, those before
    target_lengths: np.ndarray

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target tokens. The ``epoch`` matters where an example is another one in each."""

    def origin(self, index: int) -> "Place":
        """Where its texts stand, for messages."""

    def checksum(self) -> int:
        """A number that differs when the tokens do."""


class Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int  # from 1

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


@dataclass
class Origin:
    """Where the texts of examples stand."""

    path: Path
    lines: np.ndarray  # of each example, from 0

    def __call__(self, index: int) -> Place:
        """For messages."""
        return Place(self.path, int(self.lines[index]) + 1)


def places(examples: Examples, indices: Sequence[int]) -> str:
    """Where the texts of these examples stand, for messages: each file, and the lines in it."""
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
    """Corrupted texts and what they were before."""

    def __init__(self, texts: TokenStore, noise: Noise, origin: Origin) -> None:
        self._texts, self._noise, self.origin = texts, noise, origin
        self.source_lengths = self.target_lengths = texts.lengths

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        return self._noise.corrupt(self._texts[index], epoch, index), self._texts[index]

    def checksum(self) -> int:
        return self._texts.checksum()


class JoinedExamples:
    """The examples of one kind, then those of another."""

    def __init__(self, first: Examples, second: Examples) -> None:
        self._parts = (first, second)
        self._boundary = len(first.source_lengths)
        self.source_lengths = np.concatenate([first.source_lengths, second.source_lengths])
        self.target_lengths = np.concatenate([first.target_lengths, second.target_lengths])

    def example(self, index: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        if index < self._boundary:
            return self._parts[0].example(index, epoch)
        return self._parts[1].example(index - self._boundary, epoch)

    def origin(self, index: int) -> Place:
        return self._parts[0].origin(index) if index < self._boundary else self._parts[1].origin(index - self._boundary)

    def checksum(self) -> int:
        return self._parts[0].checksum() ^ self._parts[1].checksum()
