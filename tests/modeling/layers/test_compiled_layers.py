"""Layers that torch.compile has compiled: sizes that vary do not compile them again."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from bart.modeling.layers import attention
from bart.modeling.layers.attention import padding_mask
from bart.modeling.layers.transformer import DecoderLayer, EncoderLayer
from tests.tiny_setup import tiny_config


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_size_compiles_a_layer_again(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """With torch's attention, as on a GPU. The first layer's input requires no gradients, so it is compiled apart."""
    monkeypatch.setattr(attention, "_suits_blocks", lambda *_: False)
    config, counter = tiny_config().copy(dropout=0.0), CompileCounter()
    torch._dynamo.reset()
    encoder, decoder = ([layer(config).train() for _ in range(2)] for layer in (EncoderLayer, DecoderLayer))
    for layer in (*encoder, *decoder):
        layer.compile(dynamic=True, backend=counter)
    counts = []
    # Sentences, source and target lengths: fewer and more tokens than fit a CPU's cache, few targets and many.
    for sentences, source, target in ((3, 24, 8), (5, 40, 16), (2, 128, 64), (7, 640, 96), (20, 288, 128)):
        states, targets = torch.randn(sentences, source, config.d_model), torch.randn(sentences, target, config.d_model)
        mask = padding_mask(torch.ones(sentences, source))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            for layer in encoder:
                states = layer(states, mask)
            for layer in decoder:
                targets = layer(targets, states, mask)
        targets.sum().backward()
        counts.append(counter.frame_count)
    assert counts[0] > 0 and counts == counts[:1] * len(counts)
