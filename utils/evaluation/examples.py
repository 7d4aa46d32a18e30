"""The texts of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass
class Examples:
    """The texts of a split, row by row."""

    sources: Sequence[str]
    references: Sequence[str] | None
    generations: Sequence[str]
    scores: np.ndarray | None  # (N, 4) from 0 to 1, as utils.evaluation.rouge.example_scores gives them
