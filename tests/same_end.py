"""Whether two trainings have ended alike, to the last bit."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from utils.checkpoint.checkpoint_io import checkpoint_step, checkpoints, load_checkpoint
from utils.io.json_files import read_json


def differences(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Where two checkpoints differ, if only in one bit."""
    if isinstance(ours, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [place]
    if isinstance(ours, Mapping):
        if ours.keys() != theirs.keys():
            return [place]
        return [found for key in ours for found in differences(ours[key], theirs[key], f"{place}/{key}")]
    if isinstance(ours, Sequence) and not isinstance(ours, str):
        if len(ours) != len(theirs):
            return [place]
        return [
            found for index in range(len(ours)) for found in differences(ours[index], theirs[index], f"{place}/{index}")
        ]
    return [] if ours == theirs else [place]


def differences_of_runs(resumed: Path, whole: Path) -> list[str]:
    """Where the last checkpoints of two results folders differ, and what their metrics.json say of the training.

    That is weights, optimizer, schedule, random states, early stopping, the best, and the place in the data.
    """
    ours, theirs = (load_checkpoint(checkpoints(folder)[-1]) for folder in (resumed, whole))
    for checkpoint in (ours, theirs):
        del checkpoint["hyper_parameters"]["arguments"]  # the folder's name
        del checkpoint["callbacks"]["TrainingHistory"]["speed"]  # by the clock
    our_metrics, their_metrics = (read_json(folder / "metrics.json") for folder in (resumed, whole))
    for metrics in (our_metrics, their_metrics):
        del metrics["speed"], metrics["throughput"]
    return [*differences(ours, theirs), *differences(our_metrics, their_metrics, "metrics")]


def assert_same_end(resumed: Path, whole: Path, steps: int, records: int | None = None) -> None:
    """After so many steps, with so many records of the loss: one for each step by default."""
    found = differences_of_runs(resumed, whole)
    assert not found, found
    assert checkpoint_step(checkpoints(whole)[-1]) == steps
    assert len(read_json(resumed / "metrics.json")["train"]) == (records or steps)
