"""Write and read the scores of each example of an evaluation, to compare two runs example by example."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bart.errors import InputError

from ..io.json_files import read_json, write_json
from ..io.run_files import example_scores_file
from .rouge import ROUGE_TYPES

_DIGITS = 6  # of an F-measure from 0 to 1; means over thousands of examples are as exact


class ExampleScores(NamedTuple):
    """The scores of the examples in one results folder."""

    references: str  # a digest: equal for the same examples in the same order
    scores: np.ndarray  # F-measures from 0 to 1, (N, 4), in the order of ROUGE_TYPES


def write_example_scores(folder: Path, split: str, references: Iterable[str], scores: np.ndarray) -> None:
    """Write the scores (N, 4) of N examples, with a digest of their references."""
    digest = hashlib.blake2b("\n".join(references).encode(), digest_size=16).hexdigest()
    columns = {name: [round(float(score), _DIGITS) for score in scores[:, i]] for i, name in enumerate(ROUGE_TYPES)}
    write_json(folder / example_scores_file(split), {"references": digest, **columns})


def read_example_scores(folder: Path, split: str) -> ExampleScores:
    """Read the scores of the examples. Raises InputError, which names the file, if that fails."""
    path = folder / example_scores_file(split)
    content = read_json(path)
    try:
        return ExampleScores(content["references"], np.array([content[name] for name in ROUGE_TYPES], dtype=float).T)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: holds no scores of examples ({error!r}); evaluate again") from error
