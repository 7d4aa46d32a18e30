"""Read and write the JSON files of a run."""

import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from bart import json_files

from .atomic_files import atomic_write

_MOST_BYTES = 2**30  # the reports of the largest evaluations have a few megabytes


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Write JSON types atomically. Raises ValueError for NaN and infinities, which JSON cannot express."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file of a run. Raises InputError, which names the file; see ``bart.json_files``."""
    return json_files.read_json(path, _MOST_BYTES)


def latency_summary(seconds: Sequence[float]) -> dict[str, float]:
    """Return the mean, the median and high percentiles of the batches' times. ``seconds`` must not be empty."""
    p50, p90, p95, p99 = np.percentile(seconds, [50, 90, 95, 99])
    return {"mean": float(np.mean(seconds)), "p50": float(p50), "p90": float(p90), "p95": float(p95), "p99": float(p99)}
