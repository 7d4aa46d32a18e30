"""The CPU's own attention against plain mathematics in float64, forward and backward."""

import pytest
import torch
from torch import Tensor

from bart.modeling.layers import blocked_attention as module
from bart.modeling.layers.attention import MultiHeadAttention
from bart.modeling.layers.blocked_attention import blocked_attention
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config


def tensors(queries: int, keys: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(5, 3, length, 8, dtype=dtype, requires_grad=True) for length in (queries, keys, keys)]


def plain(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, is_causal: bool) -> Tensor:
    scores = queries @ keys.transpose(2, 3) / 8**0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    if is_causal:
        scores = scores.masked_fill(torch.ones(scores.shape[2:]).triu(1).bool(), -torch.inf)
    return scores.exp() / scores.exp().sum(-1, keepdim=True) @ values


@pytest.mark.parametrize("at_once", [1, 30, 160, 500, 2**20])
@pytest.mark.parametrize("kind", ["whole", "padded", "causal"])
def test_agrees_with_plain_mathematics(kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", at_once)
    given = tensors(7, 7 if kind == "causal" else 11)
    mask = (torch.arange(11) < torch.tensor([11, 1, 5, 9, 2])[:, None])[:, None, None] if kind == "padded" else None
    causal = kind == "causal"
    ours, expected = blocked_attention(*given, mask, 0.0, causal), plain(*given, mask, causal)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((output * weights).sum(), given) for output in (ours, expected)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 12, 90, 90), (3, 16, 600, 700), (2, 3, 142, 16_384), (1, 2, 5000, 5000)])
def test_no_block_is_too_large(shape: tuple[int, int, int, int]) -> None:
    """Whatever the lengths are; and each weight is in one block."""
    sentences, heads, queries, keys = shape
    states = [torch.empty(sentences, heads, length, 0) for length in (queries, keys)]
    seen = torch.zeros(sentences, heads, queries, dtype=torch.int8)
    for group in module._groups(*states):
        for rows in module._rows(*states):
            seen[*group, rows] += 1
            assert seen[*group, rows].numel() * keys <= 2**20
    assert (seen == 1).all()


def test_many_blocks_round_no_worse_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of keys and values are sums over blocks of queries."""
    given = tensors(200, 100, torch.bfloat16)
    exact = torch.autograd.grad(plain(*(wide := [states.double() for states in given]), None, False).sum(), wide)
    errors = []
    for at_once in (2**20, 100):
        monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", at_once)
        found = torch.autograd.grad(blocked_attention(*given, None, 0.0, False).sum(), given)
        errors.append([(ours - theirs).square().mean().sqrt() for ours, theirs in zip(found, exact, strict=True)])
    assert all(many < 1.5 * one for one, many in zip(*errors, strict=True)), errors


@pytest.mark.parametrize("at_once", [4, 2**20])
def test_dropout_has_the_gradient_of_what_it_drew(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The backward pass draws the same weights again: with the draw held fixed, numerical and exact gradient agree."""
    monkeypatch.setattr(module, "_WEIGHTS_AT_ONCE", at_once)
    given = [states.detach()[:2, :2].requires_grad_() for states in tensors(3, 4)]

    def attend(*states: Tensor) -> Tensor:
        torch.manual_seed(3)
        return blocked_attention(*states, None, 0.4, False)

    torch.autograd.gradcheck(attend, given)
    assert not torch.equal(attend(*given), blocked_attention(*given, None, 0.4, False))


def test_dropout_keeps_the_mean() -> None:
    given = tensors(3, 4)
    torch.manual_seed(0)
    with torch.no_grad():
        outputs = torch.stack([blocked_attention(*given, None, 0.3, False) for _ in range(4000)])
        expected = plain(*given, None, False)
    error = outputs.std(0) / 4000**0.5
    assert ((outputs.mean(0) - expected).abs() < 5 * error).all() and (error > 0).all()


def test_chosen_for_dropout_and_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a decoding step, whose queries are few, and not where each query may look elsewhere."""
    calls: list[float] = []

    def counted(*arguments: object) -> Tensor:
        calls.append(arguments[4])
        return blocked_attention(*arguments)

    monkeypatch.setattr("bart.modeling.layers.attention.blocked_attention", counted)

    def run(dropout: float, dtype: torch.dtype, training: bool, queries: int = 20, mask: Tensor | None = None) -> int:
        attention = MultiHeadAttention(16, 2, dropout).to(dtype).train(training)
        states = torch.randn(2, queries, 16).to(dtype)
        calls.clear()
        with torch.set_grad_enabled(training):
            attention(states, *attention.project_keys_values(states), mask)
        return len(calls)

    assert run(0.1, torch.float32, True) and run(0.0, torch.bfloat16, True) and run(0.1, torch.bfloat16, False)
    assert not run(0.0, torch.float32, True)
    assert not run(0.1, torch.float32, False)
    assert not run(0.1, torch.bfloat16, False, queries=5)
    assert not run(0.1, torch.bfloat16, False, mask=torch.zeros(2, 1, 20, 20, dtype=torch.bfloat16))


def test_more_beams_than_a_step_has_by_plain_products() -> None:
    """In bfloat16 twenty beams of a sentence are too many for these, and each has ancestors of its own."""
    torch.manual_seed(1)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).bfloat16().eval()
    source = torch.randint(4, 400, (3, 30))
    assert model.generate(source, num_beams=20, max_length=9).shape == (3, 9)
