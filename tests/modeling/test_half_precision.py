"""Models whose weights are cast to float16 or bfloat16 for generation."""

import copy

import pytest
import torch
from torch import Tensor

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config

SENTENCES, LENGTH = 6, 24


def distinct_model() -> BartForConditionalGeneration:
    """Random weights, large enough for a clear favourite among the tokens at most steps."""
    torch.manual_seed(0)
    return BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()


def sources() -> Tensor:
    return torch.randint(4, 400, (SENTENCES, LENGTH), generator=torch.Generator().manual_seed(1))


def summaries(model: BartForConditionalGeneration, dtype: torch.dtype) -> list[list[int]]:
    return copy.deepcopy(model).to(dtype).generate(sources(), num_beams=3, max_length=16).tolist()


def test_half_precisions_write_nearly_what_float32_writes() -> None:
    expected = summaries(distinct_model(), torch.float32)
    assert len({tuple(summary) for summary in expected}) == SENTENCES
    assert summaries(distinct_model(), torch.float16) == expected
    equal = sum(map(list.__eq__, summaries(distinct_model(), torch.bfloat16), expected))
    assert equal >= SENTENCES // 2  # bfloat16 has 3 digits less in binary


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("place", ["fc1", "fc2"])
def test_float16_does_not_overflow(side: str, place: str) -> None:
    """A feed-forward network whose activations, or whose sums, are beyond 65504, in one entry of some rows."""
    model = distinct_model()
    layer = getattr(model.model, side).layers[0]
    with torch.no_grad():
        getattr(layer, place).weight[3] *= 3e4  # no weight is beyond 65504 itself
        if place == "fc1":
            layer.fc2.weight[:, 3] *= 1e-2
    seen: list[Tensor] = []
    layer.fc2.register_forward_hook(lambda _, given, result: seen.append(given[0] if place == "fc1" else result))
    labels = sources().flip(0)
    with torch.no_grad():
        expected = model(sources(), labels=labels).logits
        assert any(values.abs().max() > 70000 for values in seen)
        halved = model.half()(sources(), labels=labels).logits
    assert (halved - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_target_token_sees_the_future(dtype: torch.dtype) -> None:
    """Of a short target too, whose few queries have a way of their own on a CPU when tokens are decoded one by one."""
    model = distinct_model().to(dtype)
    targets = sources()[:, :12]
    others = targets.clone()
    others[:, 8:] = sources().flip(0)[:, 8:12]
    with torch.no_grad():
        logits, with_others = (model(sources(), decoder_input_ids=tokens).logits for tokens in (targets, others))
    torch.testing.assert_close(logits[:, :8], with_others[:, :8])
    assert (logits[:, 8:] != with_others[:, 8:]).any()


def test_training_sees_an_overflow() -> None:
    model = distinct_model().to(torch.float16)
    with torch.no_grad():
        model.model.encoder.layers[0].fc2.weight[3] = 60000.0
    assert model(sources(), labels=sources()).loss.isnan()
