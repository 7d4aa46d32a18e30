"""Attention where cuDNN's backward pass may be NaN: hidden keys are appended."""

import pytest
import torch
import torch.nn.functional as F

from bart.modeling.layers import attention
from bart.modeling.layers.attention import MultiHeadAttention, padding_mask


@pytest.mark.parametrize(("keys", "seen"), [(64, 72), (192, 200), (128, 128), (72, 72), (63, 63)])
def test_hidden_keys_change_nothing(keys: int, seen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer = MultiHeadAttention(16, 2, dropout=0.0).double()
    states = torch.randn(3, keys, 16, dtype=torch.float64, requires_grad=True)
    mask = padding_mask((torch.arange(keys) < torch.tensor([keys, 5, keys // 2])[:, None]).long())
    lengths = []
    sdpa = F.scaled_dot_product_attention

    def noted(*given: torch.Tensor) -> torch.Tensor:
        lengths.append((given[1].size(2), given[3].size(3)))
        return sdpa(*given)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noted)
    ends = []
    for devices in (set(), {"cpu"}):
        monkeypatch.setattr(attention, "_CUDNN", devices)
        output = layer(states, *layer.project_keys_values(states), mask)
        ends.append((output, *torch.autograd.grad(output.square().sum(), [states, *layer.parameters()])))
    assert lengths == [(keys, keys), (seen, seen)]
    for found, expected in zip(*ends, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        layer(states, *layer.project_keys_values(states), mask)
    assert lengths[-1] == (keys, keys)  # nothing is wrong without gradients
