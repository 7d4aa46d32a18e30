"""What CUDA's kernels compute: attention by all of torch's, this project's own, a whole model, the search.

Shapes: B sentences, T queries, S keys, H heads, Dh head size.
"""

import copy
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bart.modeling.kernels.available import triton_kernels
from bart.modeling.layers import attention as attention_layer
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
ALL_ERRORS = {**LARGEST_ERRORS, torch.float32: 1e-4}

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
    "as torch chooses": None,
}
# Scores of a query whose logsumexp is very low: below -88 exp(-logsumexp) exceeds float32. On a CPU, bfloat16 holds
# the scores, with steps of 0.5 at -120.
LOW_SCORES = {"cuda": -120.0, "cpu": -4.0}
DRAWS = {"cuda": 64, "cpu": 16}  # of dropout, which are averaged


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


def own_kernels(device: str, request: pytest.FixtureRequest) -> ModuleType:
    """This project's kernels: compiled on a GPU, interpreted on the CPU."""
    if device == "cpu":
        request.getfixturevalue("kernels_on_cpu")
    else:
        assert os.environ.get("TRITON_INTERPRET") != "1", "interpreted: set BART_TEST_DEVICE=cuda"
    kernels = triton_kernels(torch.zeros(1, device=device))
    assert kernels is not None
    return kernels


def draw_attention(length: int, dtype: torch.dtype, device: str) -> tuple[list[Tensor], Tensor]:
    """Random queries, keys and values (2, 2, S, 64), and a gradient; every other query has very low scores."""
    torch.manual_seed(length)
    queries, keys, values, gradient = torch.randn(4, 2, 2, length, 64)
    queries[..., 0] = (torch.arange(length) % 2).float()
    keys[..., 0] = LOW_SCORES[device] * 64**0.5
    queries, keys, values, gradient = (part.to(device, dtype) for part in (queries, keys, values, gradient))
    return [queries, keys, values], gradient


@pytest.mark.parametrize("dtype", ALL_ERRORS, ids=str)
@pytest.mark.parametrize("kind", ["whole", "padded", "causal", "dropout", "padded, dropout"])
@pytest.mark.parametrize("length", [128, 136, 192])
@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_by_every_backend(backend: str, length: int, kind: str, dtype: torch.dtype, device: str) -> None:
    """Output and gradients are finite and near float64's, at lengths of several remainders by 128."""
    if device == "cpu":
        if backend in ("efficient", "cudnn"):
            pytest.skip("the CPU does not have it")
        if backend != "as torch chooses" and ("dropout" in kind or dtype == torch.bfloat16):
            pytest.skip("this project's attention for a CPU does it, whatever is chosen")
        if "dropout" in kind and dtype == torch.float16:
            pytest.skip("too slow, and nothing trains like this")
    given, gradient = draw_attention(length, dtype, device)
    mask = None
    if "padded" in kind:
        mask = torch.arange(length, device=device) < torch.tensor([length, length // 3], device=device)[:, None]
        mask = mask[:, None, None]  # (B, 1, 1, S)
    dropout = 0.1 if "dropout" in kind else 0.0

    def compute(
        given: list[Tensor], gradient: Tensor, mask: Tensor | None, dropout: float, chosen: SDPBackend | None
    ) -> list[Tensor]:
        leaves = [part.clone().requires_grad_() for part in given]
        with sdpa_kernel(chosen) if chosen is not None else nullcontext():
            output = attention_layer._sdpa(*leaves, mask, dropout, is_causal=kind == "causal")
            return [output, *torch.autograd.grad(output, leaves, gradient)]

    exact = compute([part.double() for part in given], gradient.double(), mask, 0.0, SDPBackend.MATH)
    draws = DRAWS[device] if dropout else 1
    many, many_gradients = [part.repeat(draws, 1, 1, 1) for part in given], gradient.repeat(draws, 1, 1, 1)
    many_masks = None if mask is None else mask.repeat(draws, 1, 1, 1)
    try:
        found = compute(many, many_gradients, many_masks, dropout, BACKENDS[backend])
    except RuntimeError as error:
        if backend in ("flash", "cudnn") and "No available kernel" in str(error):
            pytest.skip("it does not take this mask, or this type")
        raise
    largest = ALL_ERRORS[dtype] + (0.64 / draws**0.5 if dropout else 0)  # one draw: 0.33
    for index, (several, expected) in enumerate(zip(found, exact, strict=True)):
        assert several.isfinite().all()
        each = several.float().unflatten(0, (draws, 2))
        mean = each.mean(0)
        if dropout:
            assert not torch.equal(each[0], each[1])
        if index == 1:  # of queries: the first channel's is 0, times the low scores
            mean, expected = mean[..., 1:], expected[..., 1:]
        assert relative_error(mean, expected.float()) < largest


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
@pytest.mark.parametrize("by", ["torch", "triton"])
@torch.no_grad()
def test_the_next_token_by_the_fast_kernels(
    by: str, dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Self-attention of one token to a cache with room left, and of 4 beams to their padded source."""
    kernels_of = triton_kernels
    if by == "triton":
        own_kernels(device, request)
    attention, states, attention_mask = attention_of(device)
    tokens = attention_mask.size(1)

    def compute(dtype: torch.dtype, kernels: list[SDPBackend]) -> tuple[Tensor, Tensor]:
        use_own = by == "triton" and dtype != torch.float32
        monkeypatch.setattr(attention_layer, "triton_kernels", kernels_of if use_own else lambda _: None)
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


@dataclass
class Case:
    """A call of one of this project's kernels with random inputs, and what torch computes in its place."""

    by_kernel: Callable[..., Tensor]  # takes the module of kernels, then the inputs
    by_torch: Callable[..., Tensor]  # takes the inputs in float32
    on_gpu: list[tuple[int, ...]]  # shapes of the inputs
    on_cpu: list[tuple[int, ...]]  # likewise, small enough for Triton's interpreter
    has_gradients: bool = False


def plus_one(kernels: ModuleType, values: Tensor) -> Tensor:
    """By the kernel of the trial, which takes float32 only."""
    values = values.to(torch.float32, copy=True)
    kernels.add_one(values)
    return values


def padding(states: Tensor) -> Tensor:
    """A mask of keys (B, H, S, Dh): a third of each second sentence's keys are hidden."""
    seen = torch.ones(len(states), 1, 1, states.size(2), dtype=torch.bool, device=states.device)
    seen[::2, ..., -(states.size(2) // 3) :] = False
    return seen


def ancestors(states: Tensor) -> Tensor:
    """What is added to scores of 6 beams with keys (B, H, S, Dh): each sees every sixth of the first half of them."""
    positions = torch.arange(states.size(2), device=states.device)
    seen = (positions % 6 == torch.arange(6, device=states.device)[:, None]) & (positions < states.size(2) // 2)
    return torch.zeros(len(states), 1, *seen.shape, device=states.device).masked_fill(~seen, float("-inf"))


def first_token(scores: Tensor) -> Tensor:
    """The token 0, on the device of the scores: (1,)."""
    return torch.zeros(1, dtype=torch.long, device=scores.device)


def ban_repeated(kernels: ModuleType, scores: Tensor) -> Tensor:
    """Probabilities after 0 1 2 3 4 0 1 ... 4: of these, trigrams ban 0 alone."""
    scores = scores.clone()
    tokens = torch.arange(40, device=scores.device).remainder(5).repeat(len(scores), 1)
    kernels.ban_repeated_ngrams(scores, tokens, first_token(scores) + 40, 3)
    return scores.exp()


def allow_first(kernels: ModuleType, scores: Tensor) -> Tensor:
    """Probabilities where only 0 is allowed."""
    scores = scores.clone()
    kernels.allow_only(scores, None, first_token(scores), first_token(scores) + 1, 1)
    return scores.exp()


def attended(sentences: int, heads: int, queries: int, keys: int) -> list[tuple[int, ...]]:
    """Shapes of queries, keys and values, with heads of 64."""
    return [(sentences, heads, length, 64) for length in (queries, keys, keys)]


def decoding(
    mask: Callable[[Tensor], Tensor | None], on_gpu: tuple[int, int, int, int], on_cpu: tuple[int, int, int, int]
) -> Case:
    """Attention of few queries, with a mask that is made for the keys; sizes: B, H, T and S."""
    return Case(
        lambda kernels, queries, keys, values: kernels.decode_attention(queries, keys, values, mask(keys)),
        lambda queries, keys, values: F.scaled_dot_product_attention(queries, keys, values, mask(keys)),
        attended(*on_gpu),
        attended(*on_cpu),
    )


# By export, and what is special. Sources of 40 sentences with 16 heads fill a GPU: their keys are not split.
KERNELS = {
    "add_one": Case(plus_one, lambda values: values + 1, [(1000, 1000)], [(7, 50)]),
    "add_norm": Case(
        lambda kernels, *given: kernels.add_norm(*given, 0.0, 1e-5, 2**62),
        lambda branch, bias, residual, weight, shift: F.layer_norm(residual + branch + bias, bias.shape, weight, shift),
        [(4000, 1024), (1024,), (4000, 1024), (1024,), (1024,)],
        [(7, 48), (48,), (7, 48), (48,), (48,)],
        has_gradients=True,
    ),
    "bias_gelu": Case(
        lambda kernels, product, bias: kernels.bias_gelu(product, bias),
        lambda product, bias: F.gelu(product + bias),
        [(4000, 4096), (4096,)],
        [(7, 48), (48,)],
    ),
    "bias_gelu_backward": Case(
        lambda kernels, gradient, product, bias: kernels.bias_gelu_backward(gradient.clone(), product, bias)[0],
        lambda gradient, product, bias: torch.ops.aten.gelu_backward(gradient, product + bias),
        [(4000, 4096), (4000, 4096), (4096,)],
        [(7, 48), (7, 48), (48,)],
    ),
    "join_gradients": Case(
        lambda kernels, *given: kernels.join_gradients(given)[0],
        lambda *given: torch.cat(given, -1),
        [(4000, 1024)] * 3,
        [(7, 48)] * 3,
    ),
    "normalizers": Case(
        lambda kernels, logits: (lambda found: (found[0] + found[1].log()).logsumexp(-1))(kernels.normalizers(logits)),
        lambda logits: logits.logsumexp(-1),
        [(384, 50265)],
        [(4, 400)],
    ),
    "best_continuations": Case(
        lambda kernels, logits, beams: kernels.best_continuations(
            logits, kernels.normalizers(logits), beams.float(), 8
        )[0],
        lambda logits, beams: (logits.log_softmax(-1).view(*beams.shape, -1) + beams[..., None]).flatten(1).topk(8)[0],
        [(384, 50265), (64, 6)],
        [(4, 400), (2, 2)],
    ),
    "cross_entropy": Case(
        lambda kernels, logits: kernels.cross_entropy(
            logits.clone(), torch.arange(len(logits), device=logits.device), logits.size(1), 0.1, None
        ),
        lambda logits: F.cross_entropy(
            logits, torch.arange(len(logits), device=logits.device), reduction="none", label_smoothing=0.1
        ),
        [(4000, 50304)],
        [(7, 400)],
    ),
    "ban_repeated_ngrams": Case(
        ban_repeated,
        lambda scores: scores.index_fill(1, first_token(scores), float("-inf")).exp(),
        [(384, 50265)],
        [(4, 400)],
    ),
    "allow_only": Case(
        allow_first,
        lambda scores: torch.zeros_like(scores).index_fill(1, first_token(scores), 1),
        [(384, 50265)],
        [(4, 400)],
    ),
    "decode_attention, source": decoding(padding, (40, 16, 6, 1024), (2, 2, 6, 70)),
    "decode_attention, source of few": decoding(padding, (2, 16, 4, 1000), (1, 2, 4, 260)),
    "decode_attention, long source": decoding(padding, (1, 16, 16, 16384), (1, 1, 16, 300)),
    "decode_attention, beams": decoding(ancestors, (40, 16, 6, 384), (2, 2, 6, 72)),
    "decode_attention, beams of few": decoding(ancestors, (1, 16, 6, 384), (1, 1, 6, 300)),
    "decode_attention, greedy": decoding(lambda _: None, (40, 16, 1, 77), (2, 2, 1, 77)),
}
# Exports that are no kernels; and extend_beams, which tests/gpu/test_graphed_search.py runs.
OTHERS = {"BeamRules", "BeamTensors", "can_choose", "can_extend", "extend_beams", "suits_decode_attention"}


def test_every_kernel_is_tested(device: str, request: pytest.FixtureRequest) -> None:
    assert {name.split(",")[0] for name in KERNELS} == set(own_kernels(device, request).__all__) - OTHERS


@pytest.mark.parametrize("dtype", ALL_ERRORS, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_own_kernels(name: str, dtype: torch.dtype, device: str, request: pytest.FixtureRequest) -> None:
    """Output, and gradients of all inputs, near those of torch in float32."""
    kernels, case = own_kernels(device, request), KERNELS[name]
    torch.manual_seed(0)
    shapes = case.on_cpu if device == "cpu" else case.on_gpu
    given = [torch.randn(shape).to(device, dtype).requires_grad_(case.has_gradients) for shape in shapes]
    exactly_given = [part.detach().float().requires_grad_(case.has_gradients) for part in given]
    found, exact = [case.by_kernel(kernels, *given)], [case.by_torch(*exactly_given)]
    if case.has_gradients:
        gradient = torch.randn(found[0].shape).to(device, dtype)
        found += torch.autograd.grad(found[0], given, gradient)
        exact += torch.autograd.grad(exact[0], exactly_given, gradient.float())
    for part, expected in zip(found, exact, strict=True):
        assert relative_error(part, expected) < ALL_ERRORS[dtype]


@pytest.mark.usefixtures("only_cuda")
@pytest.mark.parametrize("name", [name for name, case in KERNELS.items() if not case.has_gradients])
def test_own_kernels_in_a_graph(name: str, device: str, request: pytest.FixtureRequest) -> None:
    """A recorded kernel reads what its inputs hold when it is replayed."""
    kernels, case = own_kernels(device, request), KERNELS[name]
    given = [torch.randn(shape, device=device) for shape in case.on_gpu]
    case.by_kernel(kernels, *given)  # compiled, and loaded
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = case.by_kernel(kernels, *given)
    for part in given:
        part.normal_()
    graph.replay()
    assert torch.equal(found, case.by_kernel(kernels, *given))
