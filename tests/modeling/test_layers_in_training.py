"""Layers that are computed again, and compiled ones: the same loss and gradients, dropout included."""

import pytest
import torch
from torch import Tensor

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.layers.token_embedding import TokenEmbedding
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config

CONFIG = tiny_config().copy(encoder_layers=2, decoder_layers=2, dropout=0.2, attention_dropout=0.2, init_std=0.3)


def start(config: BartConfig = CONFIG) -> BartForConditionalGeneration:
    torch.manual_seed(0)
    return BartForConditionalGeneration(config).train()


def loss_and_gradients(model: BartForConditionalGeneration, dtype: torch.dtype | None = None) -> list[Tensor]:
    torch.manual_seed(1)
    sources, labels = torch.randint(4, 400, (3, 11)), torch.randint(4, 400, (3, 7))
    mask = (torch.arange(11) < torch.tensor([[11], [4], [7]])).long()
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = model.loss_sum(sources, mask, labels, 0.1)
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [loss.detach(), *(gradient for gradient in gradients if gradient is not None)]


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_computed_again(dtype: torch.dtype | None) -> None:
    """Bit for bit, as the random numbers are drawn again, too; and layers do run twice."""
    model, runs = start(), []
    model.model.encoder.layers[1].fc1.register_forward_hook(lambda *_: runs.append(1))
    expected = loss_and_gradients(model, dtype)
    assert len(runs) == 1
    model.enable_gradient_checkpointing()
    for found, wanted in zip(loss_and_gradients(model, dtype), expected, strict=True):
        assert torch.equal(found, wanted)
    assert len(runs) == 3


def test_layers_are_not_computed_again_where_nothing_is_learnt() -> None:
    model, runs = start().eval(), []
    model.enable_gradient_checkpointing()
    model.model.encoder.layers[1].fc1.register_forward_hook(lambda *_: runs.append(1))
    loss_and_gradients(model)
    assert len(runs) == 1


@pytest.mark.slow
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_compiled(gradient_checkpointing: bool) -> None:
    """Other lengths are not compiled anew; the search runs as it did."""
    config = CONFIG.copy(dropout=0.0, attention_dropout=0.0)
    model, compiled = start(config), start(config)
    compiled.compile_layers()
    if gradient_checkpointing:
        compiled.enable_gradient_checkpointing()
    expected = loss_and_gradients(model)
    for found, wanted in zip(loss_and_gradients(compiled), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    sources = torch.randint(4, 400, (2, 9))
    assert torch.equal(compiled.eval().generate(sources), model.eval().generate(sources))


def test_looked_up_rows_are_added_to_the_output_layers_gradient() -> None:
    """In place: on a CPU no table is filled, copied or added for the few rows that encoder and decoder looked up."""
    torch.manual_seed(1)
    sources, labels = torch.randint(4, 400, (3, 11)), torch.randint(4, 400, (3, 7))
    sources[1, 8:] = CONFIG.pad_token_id
    mask = sources != CONFIG.pad_token_id
    labels[0, 1:3] = labels[2, 4]
    model = start(CONFIG.copy(dropout=0.0, attention_dropout=0.0)).double()
    weight = model.model.shared.weight
    loss = model.loss_sum(sources, mask, labels)
    with torch.profiler.profile(record_shapes=True) as profile:
        loss.backward()
    of_tables = {event.name for event in profile.events() if event.input_shapes[:1] == [list(weight.shape)]}
    assert "aten::index_add_" in of_tables
    assert not of_tables & {"aten::add", "aten::add_", "aten::clone", "aten::copy_", "aten::embedding_dense_backward"}
    found, weight.grad = weight.grad, None
    (model(sources, mask, labels=labels).loss * labels.numel()).backward()
    torch.testing.assert_close(found, weight.grad, rtol=0, atol=1e-10)


def test_a_tables_gradient_without_an_output_layer() -> None:
    table = TokenEmbedding(6, 2, padding_idx=1)
    with table.tied_gradients():
        first, second = table(torch.tensor([4, 1, 4])), table(torch.tensor([[0, 4]]))
    (first.sum() + 2 * second.sum()).backward()
    assert table.weight.grad is not None
    assert table.weight.grad.tolist() == [[2, 2], [0, 0], [0, 0], [0, 0], [4, 4], [0, 0]]
