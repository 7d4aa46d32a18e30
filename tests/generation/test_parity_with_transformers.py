"""The same tokens as Hugging Face's generation, from every search setting, on random models and padded batches."""

import pytest
import torch

from tests.generation.random_searches import (
    SEARCHES,
    assert_active,
    our_tokens,
    pair_of,
    random_settings,
    searched,
    their_tokens,
)

CHUNK = 40
RULES = [
    "min_length",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "repetition_penalty",
    "bad_words_ids",
    "early_stopping",
    "length_penalty",
    "do_sample",
    "temperature",
    "top_k",
    "top_p",
    "num_beams",
    "num_return_sequences",
]
LEAST_ACTIVE = [4, pytest.param(20, marks=pytest.mark.slow)]


@pytest.mark.parametrize("first", range(0, SEARCHES, CHUNK))
def test_same_tokens(first: int) -> None:
    early = total = 0
    for search in range(first, first + CHUNK):
        settings = random_settings(search)
        ours, theirs = searched(search), their_tokens(search, settings)
        assert ours.tolist() == theirs.tolist(), f"search {search}: {settings}"
        ended = (ours[:, 1 : settings["max_length"] - 1] == 2).any(1)
        early, total = early + int(ended.sum()), total + len(ours)
    assert early / total > 1 / 3  # outputs that end before max_length: else the comparison would be blind to the end


def without(rule: str, settings: dict[str, object]) -> dict[str, object]:
    """The settings with one rule taken away, and with it what cannot stand without it."""
    taken = {rule, "num_return_sequences"} if rule == "num_beams" else {rule}
    if rule == "do_sample":
        taken |= {"temperature", "top_k", "top_p"} | ({"num_return_sequences"} if settings["num_beams"] == 1 else set())
    left = {name: value for name, value in settings.items() if name not in taken}
    return {**left, "top_k": 0} if rule == "top_k" else left


@pytest.mark.parametrize("least", LEAST_ACTIVE)
@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_active(rule: str, least: int) -> None:
    """Taking the rule away changes the tokens in enough of the searches: else the comparison would be blind to it."""
    changed = (
        searched(search).tolist() != our_tokens(search, without(rule, settings)).tolist()
        for search, settings in enumerate(map(random_settings, range(SEARCHES)))
        if rule in settings
    )
    assert_active(changed, least, rule)


@pytest.mark.parametrize("do_sample", [False, True])
@pytest.mark.parametrize("num_beams", [1, 3])
def test_same_scores(num_beams: int, do_sample: bool) -> None:
    pair = pair_of(2)
    search = {"num_beams": num_beams, "do_sample": do_sample, "max_length": 12, "length_penalty": 2.0}
    search |= {"top_k": 10} if do_sample else {}
    search |= {"return_dict_in_generate": True, "output_scores": True}
    outputs = []
    for model in (pair.ours, pair.theirs):
        torch.manual_seed(0)
        outputs.append(model.generate(pair.input_ids, attention_mask=pair.attention_mask, **search))
    ours, theirs = outputs
    assert torch.equal(ours.sequences, theirs.sequences)
    assert len(ours.scores) == len(theirs.scores) > 3
    for our_step, their_step in zip(ours.scores, theirs.scores, strict=True):
        torch.testing.assert_close(our_step, their_step, rtol=0, atol=1e-5)
    if num_beams > 1:
        torch.testing.assert_close(ours.sequences_scores, theirs.sequences_scores, rtol=0, atol=1e-5)
        assert torch.equal(ours.beam_indices, theirs.beam_indices.long())
