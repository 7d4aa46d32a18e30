"""A source whose attention mask is all zero, as a row that fills a batch up may have: numbers stay finite."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.layers.attention import MultiHeadAttention
from bart.modeling.layers.blocked_attention import blocked_attention
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.random_models import model_pair
from tests.tiny_setup import tiny_config

UNSEEN = 1  # row of the batch


def model_of(dtype: torch.dtype = torch.float32, attention_dropout: float = 0.0) -> BartForConditionalGeneration:
    torch.manual_seed(0)
    config = tiny_config().copy(init_std=0.3, dropout=0.0, attention_dropout=attention_dropout)
    return BartForConditionalGeneration(config).to(dtype)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Sources, their mask, and targets that are long enough for the ways of many queries."""
    drawn = torch.Generator().manual_seed(1)
    input_ids, labels = (torch.randint(4, 400, (3, length), generator=drawn) for length in (9, 20))
    mask = torch.ones_like(input_ids)
    mask[0, 5:] = 0
    mask[UNSEEN] = 0
    return input_ids, mask, labels


def gradients_are_finite(model: BartForConditionalGeneration) -> bool:
    return all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["float32", "bfloat16", "autocast"])
@pytest.mark.parametrize("without_padding", [False, True])
@pytest.mark.parametrize("whole_batch", [False, True])
def test_training_stays_finite(kind: str, attention_dropout: float, without_padding: bool, whole_batch: bool) -> None:
    """Logits, loss and every gradient; by ``forward``, and by what training uses, which computes no padding."""
    model = model_of(torch.bfloat16 if kind == "bfloat16" else torch.float32, attention_dropout).train()
    input_ids, mask, labels = batch()
    if whole_batch:
        mask[:] = 0
    with torch.autocast("cpu", torch.bfloat16) if kind == "autocast" else nullcontext():
        if without_padding:
            loss = model.loss_sum(input_ids, mask, labels)
        else:
            logits, loss = (output := model(input_ids, mask, labels=labels)).logits, output.loss
            assert logits.isfinite().all()
        loss.backward()
    assert loss.isfinite() and gradients_are_finite(model)
    assert model.model.decoder.layers[0].fc1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [5, 20])
def test_the_other_sources_are_not_touched(dtype: torch.dtype, length: int) -> None:
    """With few and with many queries, and in search, whose steps give what the whole target gives."""
    model = model_of(dtype).eval()
    input_ids, mask, labels = batch()
    seen = [0, 2]
    with torch.no_grad():
        logits = model(input_ids, mask, decoder_input_ids=labels[:, :length]).logits
        expected = model(input_ids[seen], mask[seen], decoder_input_ids=labels[seen, :length]).logits
        torch.testing.assert_close(logits[seen], expected)
        assert logits.isfinite().all()
    written = model.generate(input_ids, mask, num_beams=3, max_length=12)
    alone = model.generate(input_ids[seen], mask[seen], num_beams=3, max_length=12)
    assert written[seen].tolist() == alone.tolist()
    assert len(set(written[UNSEEN].tolist())) > 2  # a text, though of nothing


@pytest.mark.parametrize("queries", [3, 20])
def test_the_ways_of_attention_agree(queries: int) -> None:
    """On a CPU: torch's, our blocks (with gradients), and the plain products of a bfloat16 step; none sees anything."""
    torch.manual_seed(0)
    given = [torch.randn(3, 2, length, 8, dtype=torch.float64, requires_grad=True) for length in (queries, 9, 9)]
    mask = batch()[1].bool()[:, None, None]
    ours, expected = blocked_attention(*given, mask, 0.0, False), F.scaled_dot_product_attention(*given, mask)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert (ours[UNSEEN] == 0).all()
    weights = torch.randn_like(ours)
    both = [torch.autograd.grad((output * weights).sum(), given) for output in (ours, expected)]
    for found, wanted in zip(*both, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)

    attention = MultiHeadAttention(16, 2, 0.0).eval()
    states, sources = torch.randn(3, queries, 16), torch.randn(3, 9, 16)
    with torch.no_grad():
        exact = attention(states, *attention.project_keys_values(sources), mask)
        attention.bfloat16()
        states, sources = states.bfloat16(), sources.bfloat16()
        rounded = attention(states, *attention.project_keys_values(sources), mask)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.02)


def test_transformers_gives_the_same() -> None:
    """With torch's attention; its own leaves such a row to look everywhere."""
    pair = model_pair(3)
    pair.theirs.set_attn_implementation("sdpa")
    input_ids = torch.randint(4, 40, (3, 9))
    mask = batch()[1]
    target = torch.randint(4, 40, (3, 6))
    with torch.no_grad():
        ours = pair.ours(input_ids, mask, decoder_input_ids=target).logits
        theirs = pair.theirs(input_ids, attention_mask=mask, decoder_input_ids=target).logits
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    assert ours.isfinite().all()
