"""Reads what the pretrained model wrote for the same examples, to show it beside what the fine-tuned one writes."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bart.errors import InputError

from ...data.line_files import read_lines
from ...evaluation.paired_bootstrap import paired_comparison
from ...evaluation.score_files import read_example_scores
from ...io.run_files import PRETRAINED_FOLDER, generations_file, report_file

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Before:
    """The summaries before fine-tuning; item i of each belongs to example i."""

    generations: list[str]
    scores: np.ndarray  # (N, 4), F-measures from 0 to 1 in the order of ROUGE_TYPES
    comparison: dict[str, Any]  # by paired_comparison: the first evaluation is before fine-tuning, the second after


def read_before(folder: Path, split: str) -> Before | None:
    """Read the evaluation in the folder ``pretrained`` of a results folder.

    Returns None if there is none of this split. If there is one that cannot be compared with the results folder's own,
    says so in a warning and returns None.
    """
    before = folder / PRETRAINED_FOLDER
    if not (before / report_file(split)).is_file():
        return None
    try:
        comparison = paired_comparison(before, folder, split)
        generations = read_lines(before / generations_file(split))
        scores = read_example_scores(before, split).scores
        if len(generations) != len(scores):
            raise InputError(f"{before}: has {len(generations):,} summaries and {len(scores):,} scores; evaluate again")
    except InputError as error:
        _logger.warning("the page shows no summaries before fine-tuning: %s", error)
        return None
    return Before(generations, scores, comparison)
