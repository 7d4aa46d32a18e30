"""The same tokens as transformers' from every argument of ``generate``, on random models and padded batches."""

from typing import Any

import pytest
import torch

from tests.generation.random_calls import CALLS, called, our_tokens, random_call, their_tokens
from tests.generation.random_searches import assert_active, pair_of

CHUNK = 60
LEAST_ACTIVE = [3, pytest.param(10, marks=pytest.mark.slow)]
CHANGE_TOKENS = [
    *("max_new_tokens", "min_new_tokens", "eos_token_id", "pad_token_id", "decoder_start_token_id", "bos_token_id"),
    *("decoder_input_ids", "encoder_outputs", "logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn"),
    *("suppress_tokens", "begin_suppress_tokens", "exponential_decay_length_penalty", "encoder_repetition_penalty"),
    *("sequence_bias", "renormalize_logits", "min_p", "typical_p", "generation_config"),
]


@pytest.mark.parametrize("first", range(0, CALLS, CHUNK))
def test_same_tokens(first: int) -> None:
    uncached = 0
    for number in range(first, first + CHUNK):
        call = random_call(number)
        assert called(number).tolist() == their_tokens(number, call).tolist(), f"call {number}: {call}"
        uncached += call.get("use_cache") is False
    assert uncached > 2


@pytest.mark.parametrize("least", LEAST_ACTIVE)
@pytest.mark.parametrize("argument", CHANGE_TOKENS)
def test_every_argument_is_active(argument: str, least: int) -> None:
    """Taking the argument away changes the tokens in enough of the calls: else the comparison is blind to it."""
    changed = (
        called(number).tolist() != our_tokens(number, {name: call[name] for name in call if name != argument}).tolist()
        for number, call in enumerate(map(random_call, range(CALLS)))
        if argument in call
    )
    assert_active(changed, least, argument)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_same_logits_of_every_step(num_beams: int) -> None:
    pair = pair_of(2)
    call: dict[str, Any] = {"num_beams": num_beams, "max_new_tokens": 9, "repetition_penalty": 1.5}
    call |= {"return_dict_in_generate": True, "output_logits": True, "output_scores": True}
    ours = pair.ours.generate(pair.input_ids, pair.attention_mask, **call)
    theirs = pair.theirs.generate(pair.input_ids, attention_mask=pair.attention_mask, **call)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert len(ours.logits) == len(theirs.logits) > 3
    for our_step, their_step in zip(ours.logits + ours.scores, theirs.logits + theirs.scores, strict=True):
        torch.testing.assert_close(our_step, their_step, rtol=0, atol=1e-5)
    assert not torch.equal(ours.logits[-1], ours.scores[-1])


def test_conditions_see_the_scores() -> None:
    """With the scores returned, a condition is called with those of all steps so far."""
    pair, seen = pair_of(2), []

    def condition(tokens: torch.Tensor, scores: tuple[torch.Tensor, ...]) -> bool:
        seen.append((tokens.size(1), len(scores)))
        return False

    call = {"max_new_tokens": 4, "eos_token_id": None, "return_dict_in_generate": True, "output_scores": True}
    for beams in (1, 2):
        pair.ours.generate(pair.input_ids, num_beams=beams, stopping_criteria=[condition], **call)
    assert seen == [(2, 1), (3, 2), (4, 3), (5, 4)] * 2
