"""Searches of a validation by a copy of the model: their results, and that nothing of them stays."""

import weakref

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from utils.data.batch import Batch
from utils.training.validation_searcher import ValidationSearcher, inference_copy

pytestmark = pytest.mark.gpu

SEARCH = {"num_beams": 3, "max_length": 40, "min_length": 20}


def batch_of(rows: int, device: str, seed: int) -> Batch:
    """Sources of 40 tokens, the last of them half padded."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(4, 400, (rows, 40), generator=generator)
    mask = torch.ones_like(input_ids)
    mask[-1, 20:] = 0
    nothing = torch.zeros(0, dtype=torch.long)
    return Batch(input_ids.to(device), mask.to(device), True, nothing, nothing, nothing, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_the_sequences_of_a_plain_search(dtype: torch.dtype, device: str) -> None:
    """Within autocast and inference mode, as Lightning calls it; graphs of the first batch serve the second."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.2)).to(device)
    batches = [batch_of(6, device, seed) for seed in (1, 2, 1)]
    plain = inference_copy(model, dtype)
    expected = [plain.generate(batch.input_ids, batch.attention_mask, **SEARCH) for batch in batches]
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=dtype != torch.float32):
        searcher = ValidationSearcher(model, dtype)
        found = [searcher.search(batch, SEARCH) for batch in batches]
        assert device == "cpu" or searcher._graphs.is_filled
        copy = weakref.ref(searcher._model)
        searcher.free()
    assert copy() is None
    for ours, wanted in zip(found, expected, strict=True):
        assert torch.equal(ours, wanted)
