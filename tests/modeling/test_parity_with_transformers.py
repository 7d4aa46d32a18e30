"""The same logits, loss and gradients as Hugging Face's BART, on random models in float64."""

import random

import pytest
import torch
from torch import Tensor

from tests.random_models import model_pair

MODELS = 100
TOLERANCE = 1e-9


def random_labels(seed: int, batch: int, vocab_size: int) -> Tensor:
    rng = random.Random(seed)
    labels = torch.full((batch, 9), -100)
    for row in labels:
        length = rng.randint(1, 9)
        row[:length] = torch.tensor([rng.randint(0, vocab_size - 1) for _ in range(length)])
    return labels


@pytest.mark.parametrize("seed", range(MODELS))
def test_logits_loss_and_gradients(seed: int) -> None:
    pair = model_pair(seed)
    labels = random_labels(seed, len(pair.input_ids), pair.ours.config.vocab_size)
    theirs = pair.theirs(pair.input_ids, attention_mask=pair.attention_mask, labels=labels)
    ours = pair.ours(pair.input_ids, attention_mask=pair.attention_mask, labels=labels)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=0, atol=TOLERANCE)
    assert ours[0] is ours.loss and ours[1] is ours.logits

    theirs.loss.backward()
    ours.loss.backward()
    expected = {name: parameter.grad for name, parameter in pair.theirs.named_parameters()}
    compared = 0
    for name, parameter in pair.ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], rtol=0, atol=TOLERANCE, msg=lambda text, name=name: f"{name}: {text}"
        )
        compared += int(parameter.grad.abs().max() > 1e-6)
    assert compared > 0.7 * len(expected)  # most gradients are not zero, so the comparison sees something


def test_explicit_decoder_input_ids_are_read() -> None:
    pair = model_pair(0)
    decoder_input_ids = torch.randint(4, 20, (len(pair.input_ids), 6))
    theirs = pair.theirs(pair.input_ids, attention_mask=pair.attention_mask, decoder_input_ids=decoder_input_ids)
    ours = pair.ours(pair.input_ids, pair.attention_mask, decoder_input_ids)
    torch.testing.assert_close(ours.logits, theirs.logits, rtol=0, atol=TOLERANCE)
    assert ours.loss is None and ours[0] is ours.logits


def test_the_sources_alone_are_shifted_for_the_decoder() -> None:
    """As for filling masks."""
    pair = model_pair(1)
    theirs = pair.theirs(pair.input_ids, attention_mask=pair.attention_mask)
    torch.testing.assert_close(
        pair.ours(pair.input_ids, pair.attention_mask).logits, theirs.logits, rtol=0, atol=TOLERANCE
    )


@pytest.mark.parametrize("only_trainable", [False, True])
@pytest.mark.parametrize("exclude_embeddings", [False, True])
def test_what_users_ask_a_model(only_trainable: bool, exclude_embeddings: bool) -> None:
    pair = model_pair(4)
    for model in (pair.theirs, pair.ours):
        model.model.decoder.layers[0].requires_grad_(False)
    asked = {"only_trainable": only_trainable, "exclude_embeddings": exclude_embeddings}
    assert pair.ours.num_parameters(**asked) == pair.theirs.num_parameters(**asked)
    assert (pair.ours.device, pair.ours.dtype) == (pair.theirs.device, pair.theirs.dtype)
    assert pair.ours.bfloat16().dtype == torch.bfloat16


@pytest.mark.parametrize(
    "name", ["dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"]
)
def test_every_dropout_acts_in_training_alone(name: str) -> None:
    pair = model_pair(3)
    config = pair.ours.config.copy(**{name: 0.9})
    model = type(pair.ours)(config).double()
    model.load_state_dict(pair.ours.state_dict())
    labels = random_labels(3, len(pair.input_ids), config.vocab_size)

    def logits() -> Tensor:
        return model(pair.input_ids, pair.attention_mask, labels=labels).logits

    torch.manual_seed(0)
    assert not torch.equal(
        model.train() and logits(), pair.ours(pair.input_ids, pair.attention_mask, labels=labels).logits
    )
    model.eval()
    assert torch.equal(logits(), pair.ours(pair.input_ids, pair.attention_mask, labels=labels).logits)


def test_dropout_in_training_draws_as_transformers_does_on_average() -> None:
    """With dropout everywhere the mean logits over many passes agree with transformers' within sampling error."""
    pair = model_pair(5)
    for module in (*pair.theirs.modules(), *pair.ours.modules()):
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.2
        elif isinstance(module, torch.nn.Dropout):
            module.p = 0.2
        if isinstance(getattr(module, "activation_dropout", None), float):
            module.activation_dropout = 0.2
    labels = random_labels(5, len(pair.input_ids), pair.ours.config.vocab_size)
    means = []
    for model in (pair.theirs.train(), pair.ours.train()):
        torch.manual_seed(0)
        with torch.no_grad():
            passes = torch.stack(
                [model(pair.input_ids, attention_mask=pair.attention_mask, labels=labels).loss for _ in range(400)]
            )
        means.append((passes.mean(), passes.std() / 20))
    (theirs, their_error), (ours, our_error) = means
    assert their_error > 0
    assert abs(ours - theirs) < 4 * (their_error + our_error)
