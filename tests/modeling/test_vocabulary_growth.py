import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.modeling.vocabulary_growth import grow_vocabulary
from tests.tiny_setup import tiny_config


@pytest.fixture
def model() -> BartForConditionalGeneration:
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config()).eval()
    model.final_logits_bias.normal_()
    return model


def test_rows_and_biases_are_means_and_nothing_else_changes(model: BartForConditionalGeneration) -> None:
    """A token may also take a row that is there and unused."""
    tokens = torch.tensor([[0, 5, 9, 7, 2]])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    logits = model(tokens).logits
    grow_vocabulary(model, 403, {400: [5, 9], 401: [7], 402: [5, 5, 8], 399: [3]})
    table, old = model.model.shared.weight, before["model.shared.weight"]
    bias, old_bias = model.final_logits_bias[0], before["final_logits_bias"][0]
    for token_id, replaced in ((400, [5, 9]), (401, [7]), (402, [5, 5, 8]), (399, [3])):
        torch.testing.assert_close(table[token_id], sum(old[piece] for piece in replaced) / len(replaced))
        torch.testing.assert_close(bias[token_id], sum(old_bias[piece] for piece in replaced) / len(replaced))
    assert model.config == tiny_config().copy(vocab_size=403) and model.model.encoder.embed_tokens.weight is table
    for name, tensor in model.state_dict().items():
        assert name.endswith(("shared.weight", "embed_tokens.weight", "_bias")) or torch.equal(tensor, before[name])
    torch.testing.assert_close(model(tokens).logits[..., :399], logits[..., :399])
    assert torch.equal(model(torch.tensor([[0, 401, 2]])).logits, model(torch.tensor([[0, 7, 2]])).logits)


def test_the_new_rows_learn(model: BartForConditionalGeneration) -> None:
    """As tied ones: both as input and as output; a frozen table stays frozen."""
    grow_vocabulary(model, 402, {400: [5], 401: [6]})
    model.train().loss_sum(torch.tensor([[0, 400, 2]]), None, torch.tensor([[0, 401, 2]])).backward()
    gradient = model.model.shared.weight.grad
    assert gradient.shape == (402, 32) and (gradient[400:].abs().amax(1) > 0).all()
    model.requires_grad_(False)
    grow_vocabulary(model, 403, {402: [5]})
    assert not model.model.shared.weight.requires_grad
