"""The floating-point operations of a step, counted by formula and by torch."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from utils.training.flops import LengthSums, measured_peak, training_flops

SHAPE = {"d_model": 64, "vocab_size": 1000, "encoder_layers": 2, "decoder_layers": 3}
HEADS = dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)


def test_agrees_with_what_torch_counts() -> None:
    """The formula counts three forward passes, without the hidden half of causal attention, which torch counts."""
    config = BartConfig(**SHAPE, **HEADS, encoder_ffn_dim=96, decoder_ffn_dim=160)
    model = BartForConditionalGeneration(config).eval()
    batch, sources, targets = 3, 17, 9
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(torch.full((batch, sources), 5), None, torch.full((batch, targets), 5))
    sums = LengthSums(
        batch, batch * sources, batch * targets, batch * sources**2, batch * targets**2, batch * sources * targets
    )
    hidden = batch * 3 * 4 * 64 * (targets**2 - targets) / 2
    assert training_flops(config, sums) == 3 * (counter.get_total_flops() - hidden)


def test_bart_large_by_hand() -> None:
    """A source token takes 302 + 50 million operations, a target token 352 + 103 million; attention is added."""
    config = BartConfig.from_json_file("configs/config_xsum.json")
    sums = LengthSums(1, 1024, 60, 1024**2, 60**2, 1024 * 60)
    attention = 4 * 12 * 1024
    forward = 1024 * (302e6 + 50.3e6 + attention * 1024) + 60 * (352.3e6 + 103e6 + attention * (30.5 + 1024))
    assert training_flops(config, sums) == pytest.approx(3 * forward, rel=0.001)


def test_the_peak_is_measured_once() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    peak = measured_peak("cpu", torch.float32)
    assert peak > 1e8 and measured_peak("cpu", torch.float32) == peak
    assert torch.equal(torch.get_rng_state(), state)
