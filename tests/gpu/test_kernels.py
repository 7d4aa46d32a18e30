"""What CUDA's kernels compute: attention by the fast ones, a whole model in bfloat16, the search."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bart.modeling.layers import fused_cross_entropy
from bart.modeling.layers.attention import MultiHeadAttention, padding_mask
from bart.modeling.layers.kv_cache import LayerCache
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config

pytestmark = pytest.mark.gpu

FAST = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]  # torch raises where neither can
SHAPES = {"cuda": (8, 512), "cpu": (4, 48)}  # sequences, tokens
D_MODEL, HEADS = 128, 2  # heads as large as BART's
LARGEST_ERRORS = {torch.float16: 0.005, torch.bfloat16: 0.04}  # relative; they have 11 and 8 binary digits


def relative_error(found: Tensor, exact: Tensor) -> float:
    return ((found.float() - exact).norm() / exact.norm()).item()


def attention_of(device: str) -> tuple[MultiHeadAttention, Tensor, Tensor]:
    """Random weights, states (B, T, D) large enough for attention that prefers, and half-padded masks (B, T)."""
    torch.manual_seed(0)
    rows, tokens = SHAPES[device]
    states = 2 * torch.randn(rows, tokens, D_MODEL)
    lengths = torch.linspace(tokens // 4, tokens, rows).long()
    mask = (torch.arange(tokens) < lengths[:, None]).long()
    return MultiHeadAttention(D_MODEL, HEADS, dropout=0.0).to(device), states.to(device), mask.to(device)


@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
@pytest.mark.parametrize("kind", ["whole", "padded", "causal"])
def test_attention_by_the_fast_kernels(kind: str, dtype: torch.dtype, device: str) -> None:
    """Forward and backward; as with no kernel but plain mathematics in float32."""
    attention, states, attention_mask = attention_of(device)
    mask = padding_mask(attention_mask) if kind == "padded" else None

    def compute(dtype: torch.dtype, kernels: list[SDPBackend]) -> tuple[Tensor, Tensor]:
        module, given = copy.deepcopy(attention).to(dtype), states.to(dtype, copy=True).requires_grad_()
        with sdpa_kernel(kernels):
            output = module(given, *module.project_keys_values(given), mask, is_causal=kind == "causal")
            output.float().square().sum().backward()
        return output.detach(), given.grad

    for found, exact in zip(compute(dtype, FAST), compute(torch.float32, [SDPBackend.MATH]), strict=True):
        assert relative_error(found, exact) < LARGEST_ERRORS[dtype]


@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
@torch.no_grad()
def test_the_next_token_by_the_fast_kernels(dtype: torch.dtype, device: str) -> None:
    """Self-attention of one token to a cache with room left, and of 4 beams to their padded source."""
    attention, states, attention_mask = attention_of(device)
    tokens = attention_mask.size(1)

    def compute(dtype: torch.dtype, kernels: list[SDPBackend]) -> tuple[Tensor, Tensor]:
        module, given = copy.deepcopy(attention).to(dtype), states.to(dtype)
        cache = LayerCache(*module.project_keys_values(given), beams=1, max_length=tokens + 5)
        positions = torch.arange(tokens, device=device)
        keys, values = cache.append(*module.project_keys_values(given), positions, tokens)
        with sdpa_kernel(kernels):
            own = module(given[:, -1:], keys, values)
            cross = module(given[:, -4:], cache.cross_keys, cache.cross_values, padding_mask(attention_mask))
        return own, cross

    for found, exact in zip(compute(dtype, FAST), compute(torch.float32, [SDPBackend.MATH]), strict=True):
        assert relative_error(found, exact) < LARGEST_ERRORS[dtype]


@pytest.mark.parametrize("at_once", [2**13, 2**28])
@pytest.mark.parametrize("dtype", LARGEST_ERRORS, ids=str)
def test_the_loss_by_its_kernel(
    dtype: torch.dtype, at_once: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An odd vocabulary, in portions and at once; gradients in float32 of products in 16 bits."""
    monkeypatch.setattr(fused_cross_entropy, "LOGITS_AT_ONCE_BY_KERNEL", at_once)
    torch.manual_seed(0)
    states, weight, labels = torch.randn(200, 64), torch.randn(1003, 64) / 4, torch.randint(0, 1003, (200,))
    exact = [states.double().requires_grad_(), weight.double().requires_grad_()]
    expected = F.cross_entropy(F.linear(*exact), labels, reduction="sum", label_smoothing=0.1)
    given = [states.to(device).requires_grad_(), weight.to(device).requires_grad_()]
    with torch.autocast(device, dtype):
        bias = torch.zeros(1003, device=device)
        loss = fused_cross_entropy.fused_cross_entropy(*given, bias, labels.to(device), 0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    for found, wanted in zip(torch.autograd.grad(loss, given), torch.autograd.grad(expected, exact), strict=True):
        assert found.dtype == torch.float32 and relative_error(found.cpu(), wanted.float()) < LARGEST_ERRORS[dtype]


def test_a_models_pass_in_bfloat16(device: str) -> None:
    """Loss and gradients under autocast, by the fast kernels, with padded sources and targets."""
    torch.manual_seed(0)
    heads = dict.fromkeys(["encoder_attention_heads", "decoder_attention_heads"], HEADS)
    config = tiny_config().copy(d_model=D_MODEL, dropout=0.0, init_std=0.1, **heads)
    model = BartForConditionalGeneration(config).to(device)
    sources = torch.randint(4, config.vocab_size, (6, 48))
    labels = torch.randint(4, config.vocab_size, (6, 16))
    attention_mask = torch.ones_like(sources)
    attention_mask[::2, 30:] = 0
    labels[::2, 9:] = -100

    def compute(dtype: torch.dtype, kernels: list[SDPBackend]) -> tuple[float, Tensor]:
        model.zero_grad()
        autocast = torch.autocast(device, dtype, enabled=dtype != torch.float32)
        with sdpa_kernel(kernels), autocast:
            loss = model(sources.to(device), attention_mask.to(device), labels=labels.to(device)).loss
        loss.backward()
        gradients = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
        return loss.item(), torch.cat(gradients)

    loss, gradient = compute(torch.bfloat16, FAST)
    exact_loss, exact_gradient = compute(torch.float32, [SDPBackend.MATH])
    assert loss == pytest.approx(exact_loss, rel=0.01)
    assert relative_error(gradient, exact_gradient) < 0.05


@pytest.mark.parametrize("beams", [1, 4])
def test_the_search_finds_the_same_tokens(beams: int, device: str) -> None:
    """As the CPU with float64, so that no choice hangs on the rounding of float32; sources are padded."""
    for seed in range(3):
        torch.manual_seed(seed)
        model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval()
        sources = torch.randint(4, 400, (6, 24))
        sources[::2, 17:] = model.config.pad_token_id
        search = {"attention_mask": (sources != model.config.pad_token_id).long(), "num_beams": beams, "max_length": 32}
        expected = copy.deepcopy(model).double().generate(sources, **search)
        search["attention_mask"] = search["attention_mask"].to(device)
        found = model.to(device).generate(sources.to(device), **search)
        assert found.cpu().tolist() == expected.tolist()
        assert len({tuple(summary) for summary in expected.tolist()}) == len(sources)
