"""Packed layers compute what the plain ones do: exactly but for rounding, or with 8 bits but for more of it."""

import copy

import pytest
import torch
from torch import nn

from bart.errors import InputError
from bart.modeling.layers.prepacked_linear import Int8Linear, PrepackedLinear
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config

LARGEST_ERRORS = {torch.float32: 1e-6, torch.bfloat16: 0.01}  # relative


def needs_kernel(dtype: torch.dtype) -> None:
    if not PrepackedLinear.suits(torch.zeros(1, dtype=dtype)):
        pytest.skip(f"this torch has no prepacked product of {dtype} for this processor")


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
@pytest.mark.parametrize("shape", [(1, 48), (2, 5, 48), (700, 48)], ids=str)
def test_a_prepacked_product_is_the_plain_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    needs_kernel(dtype)
    torch.manual_seed(0)
    linear = nn.Linear(48, 37).to(dtype)
    states = torch.randn(shape).to(dtype)
    exact = copy.deepcopy(linear).double()(states.double())
    found = PrepackedLinear(linear.weight, linear.bias)(states)
    assert found.shape == exact.shape and found.dtype == dtype
    assert relative_error(found, exact) < LARGEST_ERRORS[dtype]


@pytest.mark.parametrize("has_vnni", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (2, 5, 48), (700, 48), (3, 300, 48)], ids=str)
def test_an_int8_product_is_as_near_as_its_numbers(
    shape: tuple[int, ...], has_vnni: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rounded number is half a step off at most; what that adds up to is a bound, and most of it cancels."""
    if has_vnni and not torch.cpu._is_vnni_supported():
        pytest.skip("this processor has no VNNI")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: has_vnni)
    torch.manual_seed(0)
    linear = nn.Linear(48, 37)
    with torch.no_grad():
        linear.weight[3] *= 100  # each output has a scale of its own
    states = torch.randn(shape)
    exact, found = linear(states), Int8Linear(linear.weight, linear.bias)(states)
    assert found.shape == exact.shape
    levels = 255 if has_vnni else 127  # of 8 and of 7 bits
    half_input = (states.amax().clamp(min=0) - states.amin().clamp(max=0)) / levels / 2
    half_weight = linear.weight.abs().amax(1) / 127 / 2  # (out,)
    weights, inputs = linear.weight.abs().sum(1), states.abs().sum(-1, keepdim=True)
    bound = weights * half_input + inputs * half_weight + 48 * half_input * half_weight
    share = (found - exact) / bound
    assert share.abs().max() < 1
    assert share.square().mean().sqrt() < 0.2  # of 48 independent errors, 0.1 is expected


@pytest.mark.parametrize("layer", [PrepackedLinear, Int8Linear])
@pytest.mark.parametrize("rows", [5, 200])
def test_a_product_with_its_gelu(layer: type[nn.Module], rows: int) -> None:
    needs_kernel(torch.float32)
    torch.manual_seed(0)
    linear, states = nn.Linear(48, 37), torch.randn(rows, 48)
    found = layer(linear.weight, linear.bias, gelu=True)(states)
    exact = nn.functional.gelu(layer(linear.weight, linear.bias)(states))
    assert relative_error(found, exact) < 1e-5


def test_many_int8_rows_are_as_few() -> None:
    """The two libraries' products, of rows with one range: each part holds a 4 and a -4."""
    torch.manual_seed(0)
    linear = nn.Linear(48, 37)
    states = torch.randn(600, 48).clamp(-4, 4)
    states[::50, :2] = torch.tensor([4.0, -4.0])
    layer = Int8Linear(linear.weight, linear.bias)
    parts = torch.cat([layer(part) for part in states.split(50)])
    assert relative_error(layer(states), parts) < 1e-5


def model_with(**changes: object) -> tuple[BartForConditionalGeneration, torch.Tensor]:
    torch.manual_seed(1)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3, **changes)).eval()
    model.final_logits_bias.normal_()
    source = torch.randint(4, 400, (5, 30))
    source[1::2, 20:] = model.config.pad_token_id
    return model, source


@pytest.mark.parametrize("beams", [1, 4])
def test_a_prepacked_model_finds_the_same_tokens(beams: int) -> None:
    needs_kernel(torch.float32)
    model, source = model_with()
    expected = model.generate(source, num_beams=beams, max_length=24)
    with torch.no_grad():
        logits = model(source, decoder_input_ids=expected).logits
        assert model.prepack() is model
        assert not any(isinstance(module, nn.Linear) for module in model.modules())
        assert relative_error(model(source, decoder_input_ids=expected).logits, logits) < 1e-5
    assert torch.equal(model.generate(source, num_beams=beams, max_length=24), expected)


def test_an_int8_model_is_near_the_plain_one() -> None:
    model, source = model_with()
    tokens = torch.randint(4, 400, (5, 12))
    with torch.no_grad():
        exact = model(source, decoder_input_ids=tokens).logits
        found = model.prepack("int8")(source, decoder_input_ids=tokens).logits
    assert 1e-4 < relative_error(found, exact) < 0.1
    assert model.generate(source, num_beams=3, max_length=12).shape[0] == 5


def test_int8_wants_float32_weights() -> None:
    model, _ = model_with()
    with pytest.raises(InputError, match="float32"):
        model.bfloat16().prepack("int8")
