"""Searches by CUDA graphs, and the kernels at the end of a step, find on a GPU what the CPU finds."""

import copy
import warnings
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from bart.generation.cuda_graphs import CudaGraphCache
from bart.modeling.kernels.available import without_kernels
from tests.generation.random_searches import pair_of

pytestmark = pytest.mark.gpu

SEARCHES: list[dict[str, Any]] = [
    {"num_beams": 1, "no_repeat_ngram_size": 2, "forced_bos_token_id": 7, "min_length": 5},
    {"num_beams": 4, "no_repeat_ngram_size": 3, "forced_bos_token_id": 7, "forced_eos_token_id": 2},
    {"num_beams": 6, "min_length": 5, "length_penalty": 2.0, "suppress_tokens": [5, 9, 40], "eos_token_id": [2, 7]},
    {"num_beams": 3, "early_stopping": True, "no_repeat_ngram_size": 2, "bad_words_ids": [[8], [4, 5], [2]]},
    {"num_beams": 2, "early_stopping": "never", "repetition_penalty": 1.3, "num_return_sequences": 2},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
]


@pytest.mark.parametrize("with_kernels", [True, False], ids=["kernels", "torch"])
@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_the_tokens_of_the_cpu(
    search: dict[str, Any], with_kernels: bool, device: str
) -> None:
    """In float32. Sentences leave the batch; the second batch replays the graphs of the first."""
    generator, graphs = torch.Generator().manual_seed(0), CudaGraphCache()
    on_cpu = copy.deepcopy(pair_of(5).ours).float()
    on_device = copy.deepcopy(on_cpu).to(device)
    for _ in range(3):
        source = torch.randint(4, on_cpu.config.vocab_size, (12, 14), generator=generator)
        mask = torch.ones_like(source)
        mask[::3, 7:] = 0
        expected = on_cpu.generate(source, mask, max_length=50, **search).tolist()
        # A warning may say that nothing can be captured.
        with nullcontext() if with_kernels else without_kernels(), warnings.catch_warnings(action="error"):
            found = on_device.generate(source.to(device), mask.to(device), graphs=graphs, max_length=50, **search)
        assert found.tolist() == expected
    assert graphs.is_filled == (device == "cuda")


def test_deleted_graphs_leave_the_others_as_they_are(device: str) -> None:
    """Such as the workspaces of cuBLAS, which all graphs of a stream may share."""
    generator = torch.Generator().manual_seed(0)
    on_cpu = copy.deepcopy(pair_of(5).ours).float()
    on_device = copy.deepcopy(on_cpu).to(device)
    search = {"num_beams": 4, "max_length": 50}
    sources = torch.randint(4, on_cpu.config.vocab_size, (12, 14), generator=generator)
    expected = on_cpu.generate(sources, **search).tolist()
    kept, deleted = CudaGraphCache(), CudaGraphCache()
    for graphs in (kept, deleted, kept):
        assert on_device.generate(sources.to(device), graphs=graphs, **search).tolist() == expected
    deleted.clear()
    if device == "cuda":
        torch.cuda.empty_cache()
        filled = torch.full((2**26,), float("nan"), device=device)  # takes what has become free
        del filled
    assert on_device.generate(sources.to(device), graphs=kept, **search).tolist() == expected
