"""The examples of an evaluation, with their summaries and scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .names_and_numbers import Mention


@dataclass
class ScoredExamples:
    """The texts and scores of a split; item i of each belongs to line i."""

    sources: Sequence[str]
    references: Sequence[str] | None
    generations: Sequence[str]
    scores: np.ndarray | None  # (N, 4), from rouge.example_scores
    rows: np.ndarray | None = None  # (N,) the row of each in the user's own file, from 0, if that is not its line
    mentions: Sequence[Sequence[Mention]] | None = None  # the names and numbers of each generation, if they are known
