"""How fast this project and transformers search, in one run: figures for the report, and the same tokens."""

from collections.abc import Callable

import pytest

from scripts.benchmark.compare_generation import CompareArguments, compare

pytestmark = pytest.mark.gpu

LONG = {"mode": "padded", "source_length": 1024}
NATURAL = {"mode": "natural", "documents": 256, "natural_batch_sizes": "64", "eos_bias": 6.8}
ROWS: dict[str, dict[str, object]] = {  # lengths with start and end
    "beam 6, padded 1024/60": {**LONG, "batch_size": 64, "target_length": 62, "beams": 6},
    "beam 6, natural lengths": {**NATURAL, "target_length": 62, "beams": 6},
    "beam 4, padded 1024/142": {**LONG, "batch_size": 64, "target_length": 144, "beams": 4},
    "batch 1, beam 6, padded": {**LONG, "batch_size": 1, "target_length": 62, "beams": 6},
}
SMALL = {"shape": "tiny", "vocab_size": 300, "precisions": "fp32", "threads": 1}


@pytest.mark.parametrize("row", ROWS)
def test_beside_transformers(row: str, device: str, record_property: Callable[[str, object], None]) -> None:
    """On a GPU bart-large in bfloat16, where near ties may fall otherwise; on the CPU the same work in small."""
    work = {**ROWS[row], "systems": "ours,transformers", "rounds": 2, "device": device, "apart": False}
    if device == "cuda":
        work |= {"shape": "large", "precisions": "bf16"}
    else:
        work |= {**SMALL, "documents": 6, "natural_batch_sizes": "3", "eos_bias": 3.0}
        work |= {"batch_size": min(2, int(work.get("batch_size", 2))), "source_length": 24, "target_length": 12}
    ours, theirs = compare(CompareArguments(**work))
    sequences = len(ours["output_tokens"])
    record_property("sequences per second", round(sequences / ours["seconds"], 2))
    record_property("transformers' sequences per second", round(sequences / theirs["seconds"], 2))
    record_property("times as fast", round(theirs["seconds"] / ours["seconds"], 2))
    record_property("same outputs", theirs["same_outputs"])
    assert ours["mean_output_tokens"] == pytest.approx(theirs["mean_output_tokens"], rel=0.1)
    assert device == "cuda" or theirs["same_outputs"] == 1
