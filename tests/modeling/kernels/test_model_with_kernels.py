"""A whole model whose layers choose this project's kernels: losses, gradients and searches as without them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from bart.configuration.configuration_bart import BartConfig
from bart.modeling import modeling_bart
from bart.modeling.kernels import available
from bart.modeling.layers import fused_layers
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.modeling.test_layers_in_training import loss_and_gradients
from tests.tiny_setup import tiny_config

CONFIG = tiny_config().copy(
    encoder_layers=2, decoder_layers=2, dropout=0.0, attention_dropout=0.0, d_model=20, encoder_attention_heads=2,
    decoder_attention_heads=2, encoder_ffn_dim=36, decoder_ffn_dim=24, init_std=0.3,
)  # fmt: skip


def start(config: BartConfig = CONFIG) -> BartForConditionalGeneration:
    torch.manual_seed(0)
    model = BartForConditionalGeneration(config).train()
    for parameter in model.parameters():  # biases too
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model


@contextmanager
def noted_kernels() -> Iterator[Counter[str]]:
    """Let the model use kernels, interpreted on the CPU, and count their uses."""
    from bart.modeling.kernels import all_kernels

    uses: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(available, "_DEVICES", {"cpu", "cuda"})
        for name in ("add_norm", "bias_gelu"):
            original = getattr(all_kernels, name)

            def noted(*given: object, name: str = name, original: object = original) -> Tensor:
                uses[name] += 1
                return original(*given)

            patch.setattr(all_kernels, name, noted)
        yield uses
    available._load.cache_clear()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_loss_and_gradients(dtype: torch.dtype | None) -> None:
    expected, exact = loss_and_gradients(start(), dtype), loss_and_gradients(start())
    with noted_kernels() as uses:
        found = loss_and_gradients(start(), dtype)
    assert uses == {"add_norm": 2 * 2 + 2 * 3, "bias_gelu": 4}
    for ours, theirs, right in zip(found, expected, exact, strict=True):
        assert ours.dtype == theirs.dtype
        if dtype is None:
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * max(1.0, theirs.abs().max().item()))
        else:  # the residual is in bfloat16 too: that is up to twice as far from float32
            assert (ours - right).norm() <= 2.5 * (theirs - right).norm() + 1e-2 * right.norm()


def test_half_weights() -> None:
    """As apex's O2 trains them: everything is in the type of the weights."""
    with noted_kernels() as uses:
        found = loss_and_gradients(start().bfloat16())
    assert uses["add_norm"] == 10 and {tensor.dtype for tensor in found[1:]} == {torch.bfloat16}
    plain, exact = loss_and_gradients(start().bfloat16()), loss_and_gradients(start())
    for ours, theirs, right in zip(found, plain, exact, strict=True):  # those of keys' biases are 0 but for rounding
        assert (ours - right).norm() <= 2.5 * (theirs - right).norm() + 1e-2 * right.norm() + 1e-2


@pytest.mark.parametrize("dtype", [pytest.param(None, marks=pytest.mark.slow), torch.bfloat16], ids=str)
def test_computed_again(dtype: torch.dtype | None) -> None:
    """With dropout: gradient checkpointing draws the same masks."""
    model = start(CONFIG.copy(dropout=0.3, attention_dropout=0.2, encoder_layers=1, decoder_layers=1))
    with noted_kernels() as uses:
        expected = loss_and_gradients(model, dtype)
        model.enable_gradient_checkpointing()
        found = loss_and_gradients(model, dtype)
    assert uses["add_norm"] > 2 * 5
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


def test_search() -> None:
    sources = torch.randint(4, 400, (3, 9))
    sources[1, 5:] = CONFIG.pad_token_id
    model = start().eval()
    search = {"num_beams": 2, "max_length": 7, "min_length": 3}
    expected = model.generate(sources, (sources != CONFIG.pad_token_id).long(), **search)
    with noted_kernels() as uses:
        found = model.generate(sources, (sources != CONFIG.pad_token_id).long(), **search)
    assert uses["add_norm"] > 10 and torch.equal(found, expected)


@pytest.mark.parametrize("place", ["fc1", "fc2"])
def test_float16_does_not_overflow(place: str) -> None:
    """In inference, a feed-forward network whose activations, or whose sums, are beyond 65504."""
    model = start().eval()
    layer = model.model.encoder.layers[0]
    with torch.no_grad():
        getattr(layer, place).weight[3] *= 6e4
        if place == "fc1":
            layer.fc2.weight[:, 3] *= 1e-2
        sources, labels = torch.randint(4, 400, (2, 9)), torch.randint(4, 400, (2, 3))
        expected = model(sources, labels=labels).logits
        with noted_kernels() as uses:
            halved = model.half()(sources, labels=labels).logits
    assert uses["bias_gelu"] == 4 and (halved - expected).norm() < 0.1 * expected.norm()


def test_frozen_parts() -> None:
    models = []
    for kernels in (False, True):
        model = start()
        model.model.encoder.requires_grad_(False)
        model.model.shared.requires_grad_(False)
        model.model.decoder.layers[1].fc2.requires_grad_(False)
        model.model.decoder.layers[1].self_attn.k_proj.requires_grad_(False)
        with noted_kernels() if kernels else pytest.MonkeyPatch.context():
            torch.manual_seed(1)
            tokens = torch.randint(4, 400, (3, 7))
            model.loss_sum(tokens, None, tokens).backward()
        models.append(model)
    for (name, ours), (_, theirs) in zip(*(model.named_parameters() for model in reversed(models)), strict=True):
        assert (ours.grad is None) == (theirs.grad is None) == (not ours.requires_grad), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-4)


def test_others_modules_are_called() -> None:
    """Hooks, and linear layers of other classes, as adapters are."""

    class Adapter(nn.Linear):
        """Stands for another library's."""

    model, seen = start(), []
    layer = model.model.encoder.layers[0]
    layer.fc1.register_forward_hook(lambda *_: seen.append("fc1"))
    layer.self_attn.q_proj.register_forward_hook(lambda *_: seen.append("q_proj"))
    layer.self_attn.out_proj.__class__ = Adapter
    assert not fused_layers.is_plain(layer.self_attn.out_proj)
    with noted_kernels() as uses:
        loss_and_gradients(model)
    assert uses == {"add_norm": 8, "bias_gelu": 3} and sorted(seen) == ["fc1", "q_proj"]


def test_other_activations() -> None:
    for changes in ({"activation_function": "relu"}, {"activation_dropout": 0.1}):
        with noted_kernels() as uses:
            assert loss_and_gradients(start(CONFIG.copy(**changes)))[0].isfinite()
        assert uses == {"add_norm": 6}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_prepacked_for_a_gpu(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries, keys and values by one product, from weights that are not stored twice."""
    sources, labels = torch.randint(4, 400, (3, 9)), torch.randint(4, 400, (3, 5))
    model = start().eval().to(dtype)
    monkeypatch.setattr(modeling_bart, "prepack_linears", lambda *_: None)
    monkeypatch.setattr(modeling_bart, "_JOINT_ON", {"cpu"})
    with torch.no_grad():
        expected, before = model(sources, labels=labels).logits, {k: v.clone() for k, v in model.state_dict().items()}
        logits = model.prepack()(sources, labels=labels).logits
    torch.testing.assert_close(logits, expected)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    attention = model.model.decoder.layers[0].encoder_attn
    assert len({p.weight.untyped_storage().data_ptr() for p in (attention.q_proj, attention.v_proj)}) == 1
