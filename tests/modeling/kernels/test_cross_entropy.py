"""The kernel of the cross entropy, against torch in float64."""


import pytest
import torch
import torch.nn.functional as F

from bart.modeling.kernels.cross_entropy import _BLOCK, cross_entropy

# Half a unit of the last digit; for bfloat16 a whole one, since Triton's interpreter does not round but truncate.
TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-11}


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(("vocabulary", "columns"), [(37, 64), (64, 64), (2 * _BLOCK + 5, 2 * _BLOCK + 64)])
def test_agrees_with_torch(vocabulary: int, columns: int, smoothing: float, dtype: torch.dtype) -> None:
    """Loss and gradient; labels at both ends; surplus columns may hold anything, and their gradient is 0."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, columns, generator=generator).mul(3).to(dtype)
    logits[1, vocabulary // 2] = 60.0  # a probability of almost 1
    logits[:, vocabulary:] = float("nan")
    labels = torch.tensor([0, vocabulary - 1, vocabulary // 2])
    exact = logits[:, :vocabulary].double().requires_grad_()
    expected = F.cross_entropy(exact, labels, reduction="none", label_smoothing=smoothing)
    expected.sum().backward()

    untouched = logits.clone()
    losses = cross_entropy(untouched, labels, vocabulary, smoothing, None)
    torch.testing.assert_close(losses.double(), expected.detach(), rtol=1e-5, atol=1e-5)
    assert torch.equal(untouched.nan_to_num(), logits.nan_to_num())

    assert torch.equal(cross_entropy(logits, labels, vocabulary, smoothing, 16.0), losses)
    found, tolerance = logits.double() / 16, TOLERANCES[dtype]
    torch.testing.assert_close(found[:, :vocabulary], exact.grad, rtol=tolerance, atol=1e-8)
    assert found[:, vocabulary:].eq(0).all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of numpy, by which the interpreter computes
def test_what_is_not_finite_is_seen() -> None:
    """-inf is a token that is ruled out; +inf, as of an overflow, and NaN make the loss NaN, as torch's."""
    logits = torch.zeros(4, 8)
    logits[0, 3], logits[1, 3], logits[2, 3], logits[3] = -float("inf"), float("inf"), float("nan"), -float("inf")
    losses = cross_entropy(logits, torch.tensor([1, 1, 1, 1]), 8, 0.0, 1.0)
    assert losses[0] == pytest.approx(torch.tensor(7.0).log().item()) and losses[1:3].isnan().all()
    assert not losses[3].isfinite()
    assert logits[0, 3] == 0 and logits[0, 2] == pytest.approx(1 / 7)


def test_no_tokens() -> None:
    assert len(cross_entropy(torch.zeros(0, 8), torch.zeros(0, dtype=torch.long), 8, 0.1, 1.0)) == 0
