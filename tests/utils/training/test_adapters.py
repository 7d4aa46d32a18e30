"""A model with adapters, beside a plain one with the same weights: every way to compute must see the adapters."""

import sys

import pytest
import torch
from torch import Tensor, nn

from bart.checkpoints.adapters import SCALING, merge_adapters
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.modeling.layers.fused_layers import is_plain
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from tests.utils.training.test_memory_estimate import kept_bytes
from utils.cli.training_args import ModelSettings
from utils.training.adapters import add_adapters, check_peft
from utils.training.memory_estimate import activation_bytes, memory_plan
from utils.training.optimization import freeze
from utils.training.validation_searcher import inference_copy

CONFIG = tiny_config().copy(encoder_layers=2, decoder_layers=2, dropout=0.0)


def adapted_model(config: BartConfig = CONFIG, std: float = 0.1) -> BartForConditionalGeneration:
    """With adapters that are trained, that is not zero."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration(config)
    freeze(model, embeddings=True, encoder=False)
    add_adapters(model, ModelSettings(lora=4), mixed_precision=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=std)
    return model


def merged_model(model: BartForConditionalGeneration) -> BartForConditionalGeneration:
    plain = BartForConditionalGeneration(model.config)
    plain.load_state_dict(merge_adapters(model.state_dict(), "the model"))
    return plain


def batch(source_length: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """Two sources with padding, their mask, labels with padding."""
    generator = torch.Generator().manual_seed(1)
    sources, labels = (torch.randint(4, 400, (2, length), generator=generator) for length in (source_length, 9))
    mask = torch.ones_like(sources)
    mask[1:, -3:], labels[0, 6:] = 0, -100
    return sources, mask, labels


def assert_learns_as_merged(model: BartForConditionalGeneration, tolerance: float, source_length: int = 40) -> None:
    """The same loss as the merged model's, and gradients that follow from its (Hu et al. 2021, section 4.1)."""
    plain = merged_model(model).train()
    losses = [one.train().loss_sum(*batch(source_length), label_smoothing=0.1) for one in (model, plain)]
    torch.testing.assert_close(losses[0], losses[1], rtol=tolerance, atol=0)
    for loss in losses:
        loss.backward()
    compared = 0
    for name, layer in plain.named_modules():
        if isinstance(layer, nn.Linear):
            adapted, gradient = model.get_submodule(name), layer.weight.grad
            first, second = adapted.lora_A["default"].weight, adapted.lora_B["default"].weight
            largest = float(gradient.abs().max())
            for found, expected in ((first, second.t() @ gradient), (second, gradient @ first.t())):
                torch.testing.assert_close(found.grad, SCALING * expected, rtol=0, atol=tolerance * (largest + 1e-3))
            assert adapted.base_layer.weight.grad is None
            compared += 1
    assert compared == 6 * model.config.encoder_layers + 10 * model.config.decoder_layers


def test_training_on_the_cpu_sees_them() -> None:
    """Padding is left out, and the feed-forward network's two products could be one function, but for the adapters."""
    assert_learns_as_merged(adapted_model(), 1e-5)


def test_gradient_checkpointing_sees_them() -> None:
    model = adapted_model()
    model.enable_gradient_checkpointing()
    assert_learns_as_merged(model, 1e-5)


def test_training_with_kernels_sees_them(kernels_on_cpu: None) -> None:
    """No kernel takes the place of a layer with an adapter."""
    model = adapted_model(tiny_config().copy(dropout=0.0))
    assert not any(map(is_plain, (model.get_submodule(name) for name in adapted_names(model))))
    assert_learns_as_merged(model, 1e-3, source_length=8)


def adapted_names(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


def test_logits_are_those_of_the_merged_model() -> None:
    """In evaluation mode, for few rows and for so many that they are computed in portions."""
    model = adapted_model().eval()
    plain = merged_model(model).eval()
    sources, mask, labels = batch()
    long = torch.randint(4, 400, (12, 60), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        for inputs in ((sources, mask, labels.clamp(min=1)), (long, None, long)):
            torch.testing.assert_close(model(*inputs).logits, plain(*inputs).logits, rtol=0, atol=1e-6)
    search = {"num_beams": 2, "max_length": 12, "min_length": 5}
    expected = plain.generate(sources, mask, **search)
    assert torch.equal(model.generate(sources, mask, **search), expected)
    for name in adapted_names(model):
        model.get_submodule(name).enable_adapters(False)
    assert (model(sources, mask).logits - plain(sources, mask).logits).abs().max() > 1e-3


def test_the_searches_of_a_validation_see_them() -> None:
    """They use a copy, prepared for inference."""
    model = adapted_model()
    copy, plain = inference_copy(model, torch.float32), merged_model(model).eval()
    sources, mask, _ = batch()
    with torch.no_grad():
        torch.testing.assert_close(copy(sources, mask).logits, plain(sources, mask).logits, rtol=0, atol=1e-5)


def test_what_is_trained_is_said() -> None:
    """Adapters alone; of a frozen encoder none. They change nothing at first."""
    for frozen, layers in ((False, 2 * 6 + 2 * 10), (True, 2 * 10)):
        settings = ModelSettings(lora=4, freeze_encoder=frozen)
        torch.manual_seed(0)
        model = BartForConditionalGeneration(CONFIG).train()
        sources, mask, labels = batch()
        before = model.loss_sum(sources, mask, labels)
        freeze(model, embeddings=True, encoder=frozen)
        total, trained = (memory_plan(model, False).parameters, memory_plan(model, False).trained_parameters)
        line = add_adapters(model, settings, mixed_precision=False)
        torch.testing.assert_close(model.loss_sum(sources, mask, labels), before)
        adapters = sum(parameter.numel() for name, parameter in model.named_parameters() if "lora_" in name)
        assert adapters == sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        assert len(adapted_names(model)) == layers
        share = adapters / (total + adapters)
        memory, all_memory = 4 * (total + adapters) + 12 * adapters, 4 * total + 12 * trained
        assert line == (
            f"--lora 4: {adapters:,} of {total + adapters:,} parameters are trained ({share:.2%}); weights, gradients"
            f" and AdamW take {memory / 1e6:,.1f} MB, without --lora {all_memory / 1e6:,.1f} MB"
        )


def test_without_peft_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check_peft(4)
    monkeypatch.setitem(sys.modules, "peft", None)  # as Python does for a package that is not there
    check_peft(None)
    with pytest.raises(InputError, match=r"^--lora 4: the package peft .*; install it: pip install peft$"):
        check_peft(4)


def test_half_an_adapter_is_refused() -> None:
    tensors = adapted_model().state_dict()
    del tensors["model.encoder.layers.0.fc2.lora_B.default.weight"]
    with pytest.raises(InputError, match=r"^a file: model\.encoder\.layers\.0\.fc2\.base_layer\.weight lacks its"):
        merge_adapters(tensors, "a file")


def test_a_plain_model_passes_as_it_is() -> None:
    tensors = BartForConditionalGeneration(CONFIG).state_dict()
    assert merge_adapters(tensors, "a file") == tensors


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_the_formula_counts_what_they_keep_in_memory(dtype: torch.dtype | None) -> None:
    """In mixed precision, too, where peft's own cast of the inputs would be kept beside them."""
    model, shape = adapted_model(CONFIG.copy(vocab_size=101, d_model=64, dropout=0.1)).train(), (40, 60, 20)
    measured = kept_bytes(model, dtype, shape)
    estimate = activation_bytes(memory_plan(model, mixed_precision=dtype is not None), *shape)
    assert measured < estimate < 1.3 * measured


def test_mixed_precision_sees_them() -> None:
    """With weights so large that adapters change the loss."""
    model = adapted_model(CONFIG.copy(init_std=0.3), std=1).train()
    plain = merged_model(model).train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = [one.loss_sum(*batch()) for one in (model, plain)]
        for name in adapted_names(model):
            model.get_submodule(name).enable_adapters(False)
        without = model.loss_sum(*batch())
    torch.testing.assert_close(losses[0], losses[1], rtol=3e-3, atol=0)
    assert abs(without - losses[1]) > 2e-2 * losses[1]
