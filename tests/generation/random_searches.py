"""Random search settings, each with a random model, on which both libraries' searches are compared."""

import random
import warnings
from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from tests.random_models import ModelPair, model_pair

SEARCHES = 320
MODELS = 40
DEFAULTS = GenerationConfig().search_settings()


@lru_cache(maxsize=MODELS)
def pair_of(search: int) -> ModelPair:
    """The models of one search; the end of sentence is made likelier in steps, so that outputs end early or late."""
    model = search % MODELS
    return model_pair(1000 + model, eos_bias=1.0 + (model % 4) * 1.5)


def random_settings(search: int) -> dict[str, Any]:
    """The settings of one search. Each rule is on in a good part of all searches."""
    rng = random.Random(search)
    vocab_size = pair_of(search).ours.config.vocab_size
    settings: dict[str, Any] = {"max_length": rng.randint(8, 16), "num_beams": rng.choice([1, 2, 3, 4, 5])}
    beams = settings["num_beams"]

    def perhaps(name: str, value: Any, probability: float = 0.3) -> None:
        if rng.random() < probability:
            settings[name] = value

    perhaps("min_length", rng.randint(3, settings["max_length"] - 2))
    perhaps("no_repeat_ngram_size", rng.choice([1, 2, 2, 2, 3]), 0.25)  # 1 bans the end of sentence too
    perhaps("encoder_no_repeat_ngram_size", rng.choice([1, 2]), 0.2)  # and so does this
    perhaps("forced_bos_token_id", rng.randint(3, vocab_size - 1))
    perhaps("forced_eos_token_id", 2, 0.5)
    perhaps("repetition_penalty", rng.choice([0.7, 1.3, 2.0]))
    perhaps("bad_words_ids", random_bad_words(rng, vocab_size), 0.4)
    if beams > 1:
        perhaps("early_stopping", rng.choice([True, "never"]), 0.8)
        perhaps("length_penalty", rng.choice([-1.0, 0.0, 0.5, 2.0, 3.0]), 0.5)
        perhaps("num_return_sequences", beams, 0.6)
    if rng.random() < 0.25:
        settings["do_sample"] = True
        perhaps("temperature", rng.choice([0.5, 2.0]), 0.7)
        settings["top_k"] = rng.choice([0, 3, 10, 50])
        perhaps("top_p", rng.choice([0.4, 0.8]), 0.7)
        if beams == 1:
            perhaps("num_return_sequences", 3)
    return settings


def random_bad_words(rng: random.Random, vocab_size: int) -> list[list[int]]:
    """Single tokens, many pairs, and the end of sentence, which may not be banned."""
    singles = [[rng.randint(2, vocab_size - 1)] for _ in range(vocab_size // 4)]
    pairs = [[rng.randint(2, vocab_size - 1), rng.randint(2, vocab_size - 1)] for _ in range(10)]
    return [*singles, *pairs, [2]]


@lru_cache(maxsize=SEARCHES)
def searched(search: int) -> Tensor:
    """Our tokens of a search with its own settings."""
    return our_tokens(search, random_settings(search))


def our_tokens(search: int, settings: dict[str, Any]) -> Tensor:
    pair = pair_of(search)
    torch.manual_seed(search)
    tokens = pair.ours.generate(pair.input_ids, pair.attention_mask, **settings)
    assert isinstance(tokens, Tensor)
    return tokens


def their_tokens(search: int, settings: dict[str, Any]) -> Tensor:
    pair = pair_of(search)
    torch.manual_seed(search)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pair.theirs.generate(pair.input_ids, attention_mask=pair.attention_mask, **{**DEFAULTS, **settings})


def assert_active(changed: Iterable[bool], least: int, rule: str) -> None:
    """Ask of one search after another whether its tokens change without a rule, until those of ``least`` have."""
    active = len(list(islice(filter(None, changed), least)))
    assert active == least, f"{rule} changed the tokens in {active} searches only"
