"""The bookkeeping of beam search by a kernel, in Triton's interpreter, against that by torch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.arguments import SpecialTokens
from bart.generation.beam_search import UNUSED, BeamGroup
from bart.generation.output_length import StaticLength
from bart.modeling.kernels import beam_step
from bart.modeling.kernels.all_kernels import BeamRules, BeamTensors, can_extend, extend_beams

RUNNING, FINISHED = ("scores", "tokens", "rows"), ("finished_scores", "finished_tokens", "finished_rows")
STATE = (*RUNNING, *FINISHED, "is_finished", "may_improve")

SEARCHES: list[tuple[dict[str, Any], list[int]]] = [
    ({"num_beams": 3}, [2]),
    ({"num_beams": 4, "early_stopping": True, "length_penalty": 2.0}, [2, 5, 7]),
    ({"num_beams": 2, "early_stopping": "never", "length_penalty": 0.5}, [2]),
    ({"num_beams": 3, "early_stopping": "never", "length_penalty": -1.0, "max_length": 18}, [2]),
    ({"num_beams": 6, "early_stopping": True, "length_penalty": 0.0}, [2]),
    ({"num_beams": 2}, []),
]


def random_candidates(group: BeamGroup, sentences: int, vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates as if of random log probabilities."""
    return group.choose(torch.rand(sentences, group.beams, vocabulary).mul(4).log_softmax(-1))


@pytest.mark.parametrize(("search", "ends"), SEARCHES, ids=str)
def test_the_same_state_after_every_step(
    search: dict[str, Any], ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beam_step, "_PLACES", 8)  # outputs of 9 and more do not go in one
    monkeypatch.setattr(beam_step, "_POSITIONS", 16)
    torch.manual_seed(len(ends))
    sentences, vocabulary = 3, 12 if ends else 40
    settings = GenerationConfig(**{"max_length": 9, **search})
    device, longest, beams = torch.device("cpu"), settings.max_length, settings.num_beams
    length = StaticLength(settings, 1, device)
    group = BeamGroup(torch.zeros(sentences, 1).long(), beams, 0, settings, SpecialTokens(0, 1, ends), length=length)
    rows = torch.arange(sentences * beams).view(sentences, beams)
    ancestors = torch.full((sentences, 1, beams, beams * longest), float("-inf"))
    expected_ancestors = ancestors.clone()
    state = BeamTensors(
        **{name: getattr(group, name).clone() for name in STATE},
        length=torch.tensor([1]), flags=torch.zeros(sentences + 1, dtype=torch.bool), ancestors=ancestors,
    )  # fmt: skip
    has_best_divisor = settings.early_stopping == "never" and settings.length_penalty > 0
    rules = BeamRules(
        torch.tensor(ends, dtype=torch.long), length.divisors,
        float((longest - 1) ** settings.length_penalty) if has_best_divisor else None,
        settings.early_stopping is True, longest, UNUSED,
    )  # fmt: skip
    for step in range(longest - 1):
        # The step has made each beam's own position visible.
        for tensor in (ancestors, expected_ancestors):
            tensor[:, 0].diagonal(step * beams, 1, 2).zero_()
        candidates = random_candidates(group, sentences, vocabulary)
        parents, _ = group.extend(*candidates, rows)
        extend_beams(state, rules, *candidates)
        expected_ancestors = expected_ancestors.gather(2, parents[:, None, :, None].expand_as(ancestors))
        for name in STATE:
            theirs, ours = getattr(group, name), getattr(state, name)
            if name in FINISHED:  # what is in empty entries depends on the order of equal scores
                used = group.is_finished if theirs.dim() == 2 else group.is_finished[..., None]
                theirs, ours = theirs * used, ours * used
            assert torch.equal(ours, theirs), f"{name} in step {step}"
        done, is_over = group.done()
        assert torch.equal(state.flags, torch.cat([done, is_over[None]]))
        assert torch.equal(ancestors, expected_ancestors) and state.length.tolist() == [step + 2]
    assert not ends or group.is_finished.any()


def test_what_cannot_be_extended() -> None:
    assert can_extend(6, 12)
    assert not can_extend(33, 66)
