"""Attention of few queries by Triton's interpreter, beside torch in float64.

Shapes: B sentences, T queries, S keys, H heads, Dh head size.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.kernels.all_kernels import decode_attention, suits_decode_attention
from bart.modeling.kernels.decode_attention import MOST_QUERIES
from bart.modeling.layers import attention
from bart.modeling.layers.attention import MultiHeadAttention
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config

pytestmark = pytest.mark.usefixtures("bfloat16_dot")

HIDDEN = float("-inf")
LARGEST_ERRORS = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}
MASKS = ["none", "bool", "bool of each query", "floats", "floats of all sentences"]


def states(queries: int, keys: int, head_size: int = 16, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Random queries (2, 3, T, Dh), keys and values (2, 3, S, Dh), laid out as in the model: by token, then by head."""
    torch.manual_seed(queries + keys)
    return [torch.randn(2, length, 3, head_size).to(dtype).transpose(1, 2) for length in (queries, keys, keys)]


def masked(kind: str, queries: int, keys: int) -> Tensor | None:
    """A mask of that kind: each sentence hides its first or last keys, and some between; a query may see nothing."""
    if kind == "none":
        return None
    seen = torch.rand(2, 1, queries, keys) < 0.6
    seen[0, ..., : keys // 3] = False
    seen[1, ..., keys - keys // 3 :] = False
    if kind == "bool":
        return seen[:, :, :1]
    seen[1, 0, queries // 2] = False
    bias = torch.randn(seen.shape).masked_fill(~seen, HIDDEN)
    return {"bool of each query": seen, "floats": bias, "floats of all sentences": bias[:1]}[kind]


def exact(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """By torch in float64."""
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.double()
    return F.scaled_dot_product_attention(queries.double(), keys.double(), values.double(), mask)


def check(found: Tensor, expected: Tensor) -> None:
    """Compare to the precision of the found type, which must not have changed."""
    assert (found.double() - expected).abs().max().item() < LARGEST_ERRORS[found.dtype]


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("keys", [1, 7, 128, 200])
@pytest.mark.parametrize("queries", [1, 4, 6, 16])
def test_as_torch(queries: int, keys: int, kind: str) -> None:
    given, mask = states(queries, keys), masked(kind, queries, keys)
    assert suits_decode_attention(*given, mask)
    found = decode_attention(*given, mask)
    assert found.shape == given[0].shape
    assert found.dtype == torch.float32
    assert found.transpose(1, 2).is_contiguous()  # so the caller merges the heads without a copy
    check(found, exact(*given, mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", MASKS)
def test_in_16_bits(kind: str, dtype: torch.dtype) -> None:
    given, mask = states(6, 200, dtype=dtype), masked(kind, 6, 200)
    if mask is not None and mask.dtype != torch.bool:
        mask = mask.to(dtype)
    for splits in (1, 3):
        found = decode_attention(*given, mask, splits)
        assert found.dtype == dtype
        check(found, exact(*given, mask))


@pytest.mark.parametrize("head_size", [32, 64, 128])
def test_other_head_sizes(head_size: int) -> None:
    given, mask = states(4, 50, head_size), masked("bool", 4, 50)
    check(decode_attention(*given, mask), exact(*given, mask))


@pytest.mark.parametrize("kind", MASKS)
def test_ranges_of_keys_change_nothing(kind: str) -> None:
    """As many ranges as blocks, and more; some are empty, others hidden."""
    given, mask = states(6, 200), masked(kind, 6, 200)
    whole = decode_attention(*given, mask, 1)
    for splits in (2, 5, 7, 32):
        torch.testing.assert_close(decode_attention(*given, mask, splits), whole, rtol=0, atol=1e-6)


def test_long_sources_are_split() -> None:
    given, mask = states(4, 1024), masked("bool", 4, 1024)
    torch.testing.assert_close(decode_attention(*given, mask), decode_attention(*given, mask, 8), rtol=0, atol=0)
    check(decode_attention(*given, mask), exact(*given, mask))


@pytest.mark.parametrize("splits", [1, 3])
@pytest.mark.parametrize("level", [-1e4, -90.0, 90.0, 1e4])
def test_very_low_and_very_high_scores(level: float, splits: int) -> None:
    """No score reaches the range of exp; of all sentences, the second hides the lower half of its keys."""
    queries, keys, values = states(4, 100)
    queries[..., 0], keys[..., 0] = 4.0, level  # times 1 / sqrt(16)
    mask = torch.ones(2, 1, 1, 100, dtype=torch.bool)
    mask[1, ..., :50] = False
    found = decode_attention(queries, keys, values, mask, splits)
    assert found.isfinite().all()
    largest = 2e-3 if abs(level) > 1e3 else 2e-5  # float32 has steps of 1e-3 at 1e4
    torch.testing.assert_close(found.double(), exact(queries, keys, values, mask), rtol=0, atol=largest)


@pytest.mark.parametrize("splits", [1, 3])
def test_views_of_a_larger_cache(splits: int) -> None:
    """Fewer sentences, and the first positions of a row; with a mask that is a view likewise."""
    torch.manual_seed(0)
    cache, queries = torch.randn(2, 4, 3, 160, 16), torch.randn(2, 6, 4, 3, 16).permute(0, 2, 3, 1, 4)[0, :2]
    keys, values = cache[:, :2, :, :110]
    mask = torch.randn(4, 1, 6, 160).masked_fill(torch.rand(4, 1, 6, 160) < 0.5, HIDDEN)[:2, ..., :110]
    assert suits_decode_attention(queries, keys, values, mask)
    check(decode_attention(queries, keys, values, mask, splits), exact(queries, keys, values, mask))


@pytest.mark.parametrize("kind", MASKS[1:])
def test_hidden_keys_are_not_read(kind: str) -> None:
    """In blocks before, between and behind those that are seen; the cache's unused positions among them."""
    given = states(4, 200)
    mask = masked(kind, 4, 200)
    seen = (mask if mask.dtype == torch.bool else mask > HIDDEN).any(2)[:, :, :, None]  # (B, 1, S, 1)
    expected = exact(*given, mask)
    queries, keys, values = (part.expand(2, 3, -1, -1) for part in given)
    keys, values = (part.masked_fill(~seen, float("nan")) for part in (keys, values))
    for splits in (1, 4):
        check(decode_attention(queries, keys, values, mask, splits), expected)


@pytest.mark.parametrize("kind", ["bool of each query", "floats"])
def test_who_sees_nothing_gets_zeros(kind: str) -> None:
    given, mask = states(4, 70), masked(kind, 4, 70)
    mask[0] = False if kind == "bool of each query" else HIDDEN
    for splits in (1, 2):
        found = decode_attention(*given, mask, splits)
        assert found[0].count_nonzero() == found[1, :, 2].count_nonzero() == 0
        check(found, exact(*given, mask))


def test_what_torch_must_do() -> None:
    given = states(4, 32)
    suited = torch.ones(2, 1, 4, 32, dtype=torch.bool)
    assert suits_decode_attention(*given, suited)
    for mask in (suited.expand(2, 3, 4, 32), suited[:, :, :3], suited[..., :31], suited[0, 0], suited.long()):
        assert not suits_decode_attention(*given, mask)
    assert not suits_decode_attention(*states(MOST_QUERIES + 1, 32), None)
    assert not suits_decode_attention(*states(4, 32, head_size=48), None)
    assert not suits_decode_attention(given[0].half(), *given[1:], None)
    assert not suits_decode_attention(*(part.repeat_interleave(2, -1)[..., ::2] for part in given), None)


@pytest.mark.usefixtures("kernels_on_cpu")
def test_when_the_model_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few queries, neither gradients nor dropout, not causal."""
    from bart.modeling.kernels import all_kernels

    calls = []

    def noted(*given: Tensor) -> Tensor:
        calls.append(given)
        return decode_attention(*given)

    monkeypatch.setattr(all_kernels, "decode_attention", noted)
    layer = MultiHeadAttention(32, 2, dropout=0.1).eval()
    few, many = torch.randn(2, 4, 32), torch.randn(2, 17, 32)

    def attend(queries: Tensor, **others: bool) -> Tensor:
        calls.clear()
        return layer(queries, *layer.project_keys_values(queries), **others)

    with_gradients = attend(few)
    assert not calls
    with torch.no_grad():
        torch.testing.assert_close(attend(few), with_gradients)
        assert len(calls) == 1
        for queries, others in ((many, {}), (few, {"is_causal": True}), (few.to(torch.float64), {})):
            layer.to(queries.dtype)
            attend(queries, **others)
            assert not calls
        layer.float().train()
        attend(few)
        assert not calls


@pytest.mark.parametrize("search", [{"num_beams": 4}, {"num_beams": 1}], ids=["beams", "greedy"])
def test_the_search_finds_the_same_tokens(
    search: dict[str, int], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model with padded sources: in every step of the decoder both attentions are the kernel's."""
    torch.manual_seed(0)
    config = tiny_config().copy(init_std=0.3)
    model = BartForConditionalGeneration(config).eval()
    sources = torch.randint(4, 400, (3, 24))
    sources[::2, 17:] = config.pad_token_id
    search = {"attention_mask": (sources != config.pad_token_id).long(), "max_length": 12, **search}
    expected = copy.deepcopy(model).generate(sources, **search)

    request.getfixturevalue("kernels_on_cpu")
    shapes = set()

    def only_many(queries: Tensor, *others: object, **named: object) -> Tensor:
        shapes.add(queries.size(2))
        return sdpa(queries, *others, **named)

    sdpa = F.scaled_dot_product_attention
    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", only_many)
    assert model.generate(sources, **search).tolist() == expected.tolist()
    assert shapes == {24}  # the encoder's
