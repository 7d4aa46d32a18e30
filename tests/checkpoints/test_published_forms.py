"""Published weights in every form: the same model, here and in transformers."""

import logging
from pathlib import Path

import pytest
import torch
import transformers

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.published_forms import CONTAINERS, FORMS, TABLE, Weights, bare_weights, whole, write_model

VOCABULARY, POSITIONS = 60, 32
SOURCE = torch.tensor([[0, 5, 17, 41, 8, 2], [0, 59, 6, 2, 1, 1]])
TARGET = torch.tensor([[2, 0, 9, 33], [2, 0, 58, 4]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    """In float64, in which the weights of every file are the numbers that it holds."""
    with torch.no_grad():
        return model.double().eval()(SOURCE, (SOURCE != 1).long(), TARGET)[0]


def not_needed(stored: Weights, bare: Weights) -> list[str]:
    """The names of counters, heads and other biases: what is in no summarizer."""
    needed = {name.removeprefix("model.") for name in (*bare, *whole(bare))}
    return sorted(name for name in stored if name.removeprefix("model.") not in needed)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_model(form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Transformers 5 takes all of them too. It leaves out counters silently, heads and lm_head.bias by name."""
    bare = bare_weights(VOCABULARY, POSITIONS)
    stored = FORMS[form](bare)
    left_out = not_needed(stored, bare)
    for dtype in (torch.float32, torch.float16):
        expected = {name: tensor.to(dtype).float() for name, tensor in whole(bare).items() if name != "lm_head.weight"}
        if "final_logits_bias" not in stored:
            expected["final_logits_bias"].zero_()
        ours, theirs = [], []
        for container in CONTAINERS:
            folder = tmp_path / f"{container}, {dtype}"
            write_model(folder, form, container, bare, dtype)
            caplog.clear()
            model = BartForConditionalGeneration.from_pretrained(folder)
            said = [record.getMessage() for record in caplog.records]
            assert len(said) == bool(left_out)
            for line in said:
                assert line.startswith(f"{folder}: left out, as a summarizer does not need it: {left_out[0]}")
            state = model.state_dict()
            assert state.keys() == expected.keys()
            assert all(torch.equal(state[name], expected[name]) for name in expected), container
            ours.append(logits(model))
            their_model, report = transformers.BartForConditionalGeneration.from_pretrained(
                folder, output_loading_info=True
            )
            assert not report["missing_keys"] and not report["mismatched_keys"]
            assert set(report["unexpected_keys"]) == {name for name in left_out if not name.endswith(".version")}
            theirs.append(logits(their_model))
        assert all(torch.equal(output, outputs[0]) for outputs in (ours, theirs) for output in outputs)
        assert (ours[0] - theirs[0]).abs().max() < 1e-12


def lacks_a_layer_norm(weights: Weights) -> None:
    del weights["encoder.layers.0.final_layer_norm.bias"]


def lacks_the_table(weights: Weights) -> None:
    del weights[TABLE]


def has_a_layer_more(weights: Weights) -> None:
    weights["decoder.layers.1.fc1.weight"] = weights["decoder.layers.0.fc1.weight"]


def has_another_shape(weights: Weights) -> None:
    weights["encoder.layers.0.fc1.weight"] = torch.zeros(3, 16)


def has_a_name_twice(weights: Weights) -> None:
    weights["model.encoder.layernorm_embedding.weight"] = torch.zeros(16)


def has_two_tables(weights: Weights) -> None:
    weights["lm_head.weight"] = weights[TABLE] + 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lacks_a_layer_norm, r"lacks model\.encoder\.layers\.0\.final_layer_norm\.bias"),
        (lacks_the_table, r"lacks model\.shared\.weight"),
        (has_a_layer_more, r"has tensors that this model does not have: model\.decoder\.layers\.1\.fc1\.weight"),
        (has_another_shape, r"model\.encoder\.layers\.0\.fc1\.weight is \(3, 16\), the configuration says \(24, 16\)"),
        (has_a_name_twice, r"model\.encoder\.layernorm_embedding\.weight is there with and without model\. before it"),
        (has_two_tables, r"lm_head\.weight differs from model\.shared\.weight"),
    ],
)
def test_what_is_wrong_in_the_bare_form_is_refused_by_name(fault, message: str, tmp_path: Path) -> None:
    bare = bare_weights(VOCABULARY, POSITIONS)
    write_model(tmp_path / "model", "bare", "bin", bare)
    fault(bare)
    torch.save(bare, tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(InputError, match=message) as refusal:
        BartForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert str(refusal.value).startswith(f"{tmp_path / 'model'}: ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("difference", [-1, 1])
def test_the_number_of_tokens_is_the_models_own(
    difference: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_model(tmp_path / "model", "bare", "safetensors", bare_weights(VOCABULARY, POSITIONS))
    own = BartForConditionalGeneration.from_pretrained(tmp_path / "model").config
    given = own.copy(vocab_size=VOCABULARY + difference, num_beams=7)
    with caplog.at_level(logging.WARNING, "bart"):
        model = BartForConditionalGeneration.from_pretrained(tmp_path / "model", given)
    assert model.config == own.copy(num_beams=7) and given.vocab_size == VOCABULARY + difference
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        f"{tmp_path / 'model'}: the model has 60 tokens, the configuration says {VOCABULARY + difference}: "
        "the model's own number counts"
    )


def test_without_a_configuration_of_its_own_the_given_one_must_fit(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "bare", "safetensors", bare_weights(VOCABULARY, POSITIONS))
    config = BartForConditionalGeneration.from_pretrained(tmp_path / "model").config
    (tmp_path / "model" / "config.json").unlink()
    assert BartForConditionalGeneration.from_pretrained(tmp_path / "model", config).config == config
    with pytest.raises(InputError, match=r"model\.shared\.weight is \(60, 16\), the configuration says \(61, 16\)"):
        BartForConditionalGeneration.from_pretrained(tmp_path / "model", config.copy(vocab_size=61))
