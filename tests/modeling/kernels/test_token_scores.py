"""The kernels at the end of a search step, by Triton's interpreter, against torch."""

import pytest
import torch
from torch import Tensor

from bart.modeling.kernels.all_kernels import (
    allow_only,
    ban_repeated_ngrams,
    best_continuations,
    can_choose,
    normalizers,
)

BANNED = float("-inf")


def random_scores(rows: int, columns: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Rows with more room behind them, as an aligned output layer leaves it, which holds the highest numbers."""
    wide = torch.randn(rows, columns + 7, generator=torch.Generator().manual_seed(seed)).mul(4).to(dtype)
    wide[:, columns:] = 100.0
    return wide[:, :columns]


def by_torch(scores: Tensor, is_logits: bool, beam_scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same by a stable sort in float64."""
    sentences, beams = beam_scores.shape
    log_probs = scores.double()
    if is_logits:
        log_probs = log_probs - log_probs.logsumexp(-1, keepdim=True)
    candidates = (log_probs.view(sentences, beams, -1) + beam_scores.double()[:, :, None]).flatten(1)
    best, index = candidates.sort(dim=1, descending=True, stable=True)
    columns = scores.size(1)
    return best[:, :count], index[:, :count] // columns, index[:, :count] % columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("sentences", "beams", "columns", "count"),
    [(2, 3, 300, 6), (1, 6, 130, 12), (3, 1, 1000, 2), (2, 4, 5, 8), (1, 2, 9000, 5), (1, 1, 1, 1)],
)
def test_best_continuations(sentences: int, beams: int, columns: int, count: int, dtype: torch.dtype) -> None:
    assert can_choose(beams, columns, count)
    beam_scores = torch.randn(sentences, beams, generator=torch.Generator().manual_seed(1))
    for is_logits in (True, False):
        scores = random_scores(sentences * beams, columns, dtype, columns)
        factors = normalizers(scores) if is_logits else None
        values, of_beams, tokens = best_continuations(scores, factors, beam_scores, count)
        expected, expected_beams, expected_tokens = by_torch(scores, is_logits, beam_scores, count)
        torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-5)
        if dtype == torch.float32:
            assert torch.equal(of_beams, expected_beams) and torch.equal(tokens, expected_tokens)
        else:  # of equal numbers in 16 bits float64 may see the sums in another order
            sums = by_torch(scores, is_logits, beam_scores, beams * columns)
            order = {(int(b), int(t)): float(v) for v, b, t in zip(*(each[0] for each in sums), strict=True)}
            found = [order[int(b), int(t)] for b, t in zip(of_beams[0], tokens[0], strict=True)]
            assert len(set(zip(of_beams[0].tolist(), tokens[0].tolist(), strict=True))) == count
            assert found == pytest.approx(expected[0].tolist(), abs=1e-5)


def test_of_equal_scores_the_first_wins() -> None:
    """The first beam, then the first token, whichever chunk it is in; -inf is chosen after all else, in order too."""
    scores = torch.full((2, 400), BANNED)
    scores[0, [390, 7, 130]] = 0.0
    scores[1, [5, 200]] = 0.0
    values, beams, tokens = best_continuations(scores, None, torch.zeros(1, 2), 8)
    assert beams.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0]]
    assert tokens.tolist() == [[7, 130, 390, 5, 200, 0, 1, 2]]
    assert values.tolist() == [[0.0] * 5 + [BANNED] * 3]


def test_what_cannot_be_chosen() -> None:
    assert can_choose(6, 50265, 12)
    assert not can_choose(200, 50265, 12)
    assert not can_choose(40, 1000, 80)
    assert not can_choose(1, 5, 6)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ban_repeated_ngrams(size: int, dtype: torch.dtype) -> None:
    tokens = torch.randint(0, 3, (4, 11), generator=torch.Generator().manual_seed(size))
    for length in range(1, 12):
        scores = random_scores(4, 300, dtype, length)
        expected = scores.clone()
        for row, written in enumerate(tokens[:, :length].tolist()):
            for start in range(length - size + 1):
                if written[start : start + size - 1] == written[length - size + 1 :] and length >= size:
                    expected[row, written[start + size - 1]] = BANNED
        ban_repeated_ngrams(scores, tokens, torch.tensor([length]), size)
        assert torch.equal(scores, expected)


@pytest.mark.parametrize("columns", [300, 9000])
def test_allow_only(columns: int) -> None:
    scores = random_scores(2, columns, torch.bfloat16, 0)
    factors, before = normalizers(scores), scores.clone()
    allow_only(scores, factors, torch.tensor([2, 290]), torch.tensor([3]), 4)
    assert torch.equal(scores, before)
    allow_only(scores, factors, torch.tensor([2, 290]), torch.tensor([4]), 4)
    expected = torch.full_like(scores, BANNED)
    expected[:, [2, 290]] = 0.0
    assert torch.equal(scores, expected)
    values, beams, tokens = best_continuations(scores, factors, torch.tensor([[-1.0], [-2.5]]), 2)
    assert values.tolist() == [[-1.0] * 2, [-2.5] * 2]  # exactly: the logarithm of the sum has become 0
    assert tokens.tolist() == [[2, 290]] * 2 and not beams.any()
    others = scores.clone()
    allow_only(others, None, torch.tensor([7]), torch.tensor([1]), 1)
    assert others[:, 7].tolist() == [0.0] * 2 and int(others.isneginf().sum()) == 2 * (columns - 1)
