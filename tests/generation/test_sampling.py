"""Sampling with draws of its own: by inversion, and from a batch that shrinks."""

import pytest
import torch
from torch import Tensor

from bart.errors import InputError
from bart.generation import active_sentences, step_decoder
from bart.generation.sampling import draw_by_inversion
from tests.random_models import model_pair


def test_draws_have_the_probabilities_of_the_scores() -> None:
    torch.manual_seed(0)
    scores = torch.tensor([[0.0, -float("inf"), 1.0, -2.0, 0.5], [-float("inf"), 3.0, 3.0, -float("inf"), 0.0]])
    draws = draw_by_inversion(scores.repeat(50_000, 1)).view(-1, 2)
    shares = torch.stack([draws[:, row].bincount(minlength=5) / 50_000 for row in (0, 1)])
    assert (shares - scores.softmax(-1)).abs().max() < 0.01
    assert (shares[scores.isinf()] == 0).all()


@pytest.mark.parametrize(("number", "expected"), [(0.0, 2), (1 - 2**-24, 6)])
def test_the_ends_of_the_random_numbers(number: float, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least and the greatest float32 that ``rand`` returns: banned tokens at the ends are not drawn."""
    monkeypatch.setattr(torch, "rand_like", lambda values: torch.full_like(values, number))
    scores = torch.full((400, 9), -float("inf"))
    scores[:, 2:7] = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
    assert (draw_by_inversion(scores) == expected).all()


@pytest.mark.parametrize(("lag", "with_graphs"), [(0, False), (2, False), (2, True)])
def test_sentences_leave_when_all_of_their_samples_are_done(
    lag: int, with_graphs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws that take the likeliest token find three times what greedy search finds, in a batch that shrinks."""
    monkeypatch.setitem(active_sentences._LAG, "cpu", lag)
    model = model_pair(1004, eos_bias=2.0).ours  # whose outputs differ in length
    source = torch.randint(4, model.config.vocab_size, (12, 10), generator=torch.Generator().manual_seed(0))
    search = {"max_length": 40, "encoder_no_repeat_ngram_size": 2, "num_beams": 1}
    greedy = model.generate(source, **search)
    if with_graphs:
        monkeypatch.setattr(step_decoder, "_WITH_GRAPHS", {"cpu"})
    rows = []

    def likeliest(scores: Tensor) -> Tensor:
        rows.append(len(scores))
        return scores.argmax(-1)

    found = model.generate(source, **search, do_sample=True, num_return_sequences=3, draw_next=likeliest)
    assert isinstance(greedy, Tensor) and isinstance(found, Tensor)
    assert found.tolist() == greedy.repeat_interleave(3, 0).tolist()
    assert rows[0] == 36 and 3 <= rows[-1] < 36 and all(count % 3 == 0 for count in rows)


def test_beams_are_not_drawn_so() -> None:
    model = model_pair(1004).ours
    with pytest.raises(InputError, match="generate: draw_next: is for sampling without beams"):
        model.generate(torch.full((1, 4), 5), num_beams=2, do_sample=True, draw_next=draw_by_inversion)
