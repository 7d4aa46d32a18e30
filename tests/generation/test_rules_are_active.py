"""Every setting matters in the searches that are compared with transformers: else the comparison is blind to it."""

import pytest

from tests.generation.random_searches import SEARCHES, our_tokens, random_settings, searched

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
LEAST_ACTIVE = 20


def without(rule: str, settings: dict[str, object]) -> dict[str, object]:
    """The settings with one rule taken away, and with it what cannot stand without it."""
    taken = {rule, "num_return_sequences"} if rule == "num_beams" else {rule}
    if rule == "do_sample":
        taken |= {"temperature", "top_k", "top_p"} | ({"num_return_sequences"} if settings["num_beams"] == 1 else set())
    left = {name: value for name, value in settings.items() if name not in taken}
    return {**left, "top_k": 0} if rule == "top_k" else left


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_active(rule: str) -> None:
    """Taking the rule away changes the tokens in enough of the searches."""
    active = 0
    for search in range(SEARCHES):
        settings = random_settings(search)
        if rule in settings:
            active += int(searched(search).tolist() != our_tokens(search, without(rule, settings)).tolist())
            if active == LEAST_ACTIVE:
                return
    pytest.fail(f"{rule} changed the tokens in {active} searches only")
