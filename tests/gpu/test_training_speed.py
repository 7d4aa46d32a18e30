"""Training beside transformers on a GPU: the figures go into training_speed_<mode>.json, in the acceptance's folder.

No figure is demanded; that both systems do the work and learn the same is. Small where there is no GPU.
"""

import os
from pathlib import Path

import pytest

from scripts.benchmark.compare_training import CompareArguments, compare
from scripts.benchmark.gpu_acceptance import EVENTS_VARIABLE
from utils.io.json_files import read_json

pytestmark = pytest.mark.gpu

SIZES = {
    "cuda": {"shape": "large", "source_length": 1024, "target_length": 60, "rounds": 12, "documents": 1536},
    "cpu": {"shape": "tiny", "vocab_size": 300, "rounds": 1, "documents": 16, "threads": 1},
}
BATCHES = {
    "cuda": {"batch_size": 24, "batch_sizes": "24,48", "token_budgets": "26000,52000"},
    "cpu": {"batch_size": 4, "batch_sizes": "4,8", "token_budgets": "500,1000"},
}


def figures(mode: str, device: str, folder: Path, **changes: object) -> list[dict[str, object]]:
    pytest.importorskip("accelerate")
    if EVENTS_VARIABLE in os.environ:
        folder = Path(os.environ[EVENTS_VARIABLE]).parent
    path = folder / f"training_speed_{mode}{''.join(f'_{name}' for name in changes)}.json"
    given = {**SIZES[device], **BATCHES[device], "precisions": "bf16", "device": device, "json": str(path), **changes}
    compare(CompareArguments(mode=mode, **given))
    return read_json(path)["results"]


@pytest.mark.parametrize("compiled", [False, True])
def test_padded(compiled: bool, device: str, tmp_path: Path) -> None:
    """1024 tokens of source and 60 of target; with dropout, also of attention weights, as the recipe has it."""
    if compiled and device == "cpu":
        pytest.skip("only CUDA can run this")
    changes = {"compile": True} if compiled else {}
    ours, theirs = figures("padded", device, tmp_path, **changes)
    assert ours["tokens_per_second"] > 0 and theirs["tokens_per_second"] > 0
    assert 0 < ours["share_of_peak"] < 1 and ours["peak_gb"] > 0


def test_natural(device: str, tmp_path: Path) -> None:
    """Lengths as uneven as XSum's: ours, and transformers in its default order and with batches grouped by length."""
    sizes = {"rounds": 1}
    found = figures("natural", device, tmp_path, **sizes)
    assert [result["system"] for result in found] == ["ours", "transformers", "transformers"]


def test_same_losses(device: str, tmp_path: Path) -> None:
    _, theirs = figures("padded", device, tmp_path, check_losses=True)
    assert theirs["largest_difference"] < 0.01
