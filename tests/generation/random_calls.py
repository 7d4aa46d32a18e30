"""Random ``generate`` calls over the arguments that random_searches leaves out, each with a random model."""

import random
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import transformers
from torch import Tensor

from tests.generation.random_searches import pair_of
from tests.random_models import ModelPair

CALLS = 300


def random_call(number: int) -> dict[str, Any]:
    """The arguments of one call, beside the sources. Each is on in a good part of all calls."""
    rng = random.Random(10_000 + number)
    pair = pair_of(number)
    vocab_size = pair.ours.config.vocab_size
    call: dict[str, Any] = {"num_beams": rng.choice([1, 2, 3, 4])}

    def token() -> int:
        return rng.randint(3, vocab_size - 1)

    def perhaps(name: str, value: Any, probability: float = 0.2) -> None:
        if rng.random() < probability:
            call[name] = value

    perhaps("max_new_tokens", rng.randint(6, 14), 0.6)
    if "max_new_tokens" not in call:
        call["max_length"] = rng.randint(9, 16)
    perhaps("min_new_tokens", rng.randint(3, 6), 0.25)
    perhaps("eos_token_id", rng.choice([[2, token()], [token(), 2, token()], [token()], token()]), 0.3)
    if "eos_token_id" not in call and rng.random() < 0.1:
        call["eos_token_id"] = None
    perhaps("pad_token_id", token(), 0.25)
    perhaps("decoder_start_token_id", token())
    if rng.random() < 0.15:
        call |= {"decoder_start_token_id": None, "bos_token_id": token()}
    perhaps("use_cache", False, 0.15)
    perhaps("decoder_input_ids", random_beginning(rng, pair))
    perhaps("encoder_outputs", other_states(number), 0.15)
    perhaps("logits_processor", [odd_bias(rng.randint(2, 5))])
    perhaps("stopping_criteria", [last_two(rng.randint(4, 8))])
    perhaps("prefix_allowed_tokens_fn", allowed(rng.randint(2, 4), vocab_size))
    perhaps("suppress_tokens", [token() for _ in range(vocab_size // 4)], 0.25)
    perhaps("begin_suppress_tokens", [token() for _ in range(vocab_size // 2)], 0.25)
    if "eos_token_id" not in call or call["eos_token_id"] is not None:  # transformers needs one for this
        perhaps("exponential_decay_length_penalty", (rng.randint(1, 4), rng.choice([1.2, 1.5])), 0.3)
    perhaps("encoder_repetition_penalty", rng.choice([0.6, 1.5]), 0.25)
    perhaps("sequence_bias", random_biases(rng, vocab_size), 0.3)
    perhaps("repetition_penalty", 1.3, 0.1)
    perhaps("no_repeat_ngram_size", 2, 0.1)
    if "suppress_tokens" not in call:
        perhaps("forced_bos_token_id", token(), 0.15)
    if call["num_beams"] > 1:
        perhaps("early_stopping", rng.choice([True, "never"]), 0.5)
        perhaps("length_penalty", rng.choice([0.0, 2.0]), 0.4)
        perhaps("num_return_sequences", call["num_beams"], 0.5)
    perhaps("renormalize_logits", True)
    if rng.random() < 0.35:
        call |= {"do_sample": True, "top_k": rng.choice([0, 10])}
        perhaps("min_p", rng.choice([0.1, 0.4]), 0.5)
        perhaps("typical_p", rng.choice([0.3, 0.7]), 0.5)
        if call["num_beams"] == 1:
            perhaps("num_return_sequences", 2, 0.3)
    if rng.random() < 0.2:
        moved = [
            name for name in ("max_new_tokens", "suppress_tokens", "eos_token_id", "sequence_bias") if call.get(name)
        ]
        call["generation_config"] = transformers.GenerationConfig(
            repetition_penalty=1.7, **{name: call.pop(name) for name in moved}
        )
    return call


def random_beginning(rng: random.Random, pair: ModelPair) -> Tensor:
    """A few tokens for each source, some of them with the start token, some without."""
    start = rng.choice([[2], []])
    length = rng.randint(1, 3)
    rows = [[*start, *(rng.randint(3, 40) for _ in range(length))] for _ in pair.input_ids]
    return torch.tensor(rows)


def other_states(number: int) -> transformers.modeling_outputs.BaseModelOutput:
    """What an encoder might have made of the sources, but the model's own has not."""
    pair = pair_of(number)
    torch.manual_seed(number)
    states = torch.randn(*pair.input_ids.shape, pair.ours.config.d_model, dtype=torch.float64)
    return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=states)


def random_biases(rng: random.Random, vocab_size: int) -> dict[tuple[int, ...], float]:
    """For single tokens, pairs, and a triple."""
    sequences = [tuple(rng.randint(2, vocab_size - 1) for _ in range(length)) for length in (1, 1, 1, 2, 2, 3)]
    return {ids: rng.choice([-5.0, 2.0, 6.0]) for ids in sequences}


def odd_bias(every: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A processor that likes some tokens at some lengths, and what depends on the last token."""

    def process(tokens: Tensor, scores: Tensor) -> Tensor:
        liked = (torch.arange(scores.size(1)) + tokens[:, -1:] + tokens.size(1)) % every == 0
        return scores + 2.0 * liked

    return process


def last_two(divisor: int) -> Callable[..., Tensor]:
    """A condition that ends outputs by their last two tokens."""

    def condition(tokens: Tensor, scores: object, **_: object) -> Tensor:
        return (tokens[:, -2:].sum(1) % divisor == 0) & (tokens.size(1) > 4)

    return condition


def allowed(divisor: int, vocab_size: int) -> Callable[[int, Tensor], list[int]]:
    """A function that allows a part of the vocabulary, by the source and by the last token."""

    def tokens_after(source: int, tokens: Tensor) -> list[int]:
        rest = (source + int(tokens[-1])) % divisor
        return [2, *(token for token in range(3, vocab_size) if token % divisor == rest)]

    return tokens_after


@lru_cache(maxsize=CALLS)
def called(number: int) -> Tensor:
    """Our tokens of a call with all its arguments."""
    return our_tokens(number, random_call(number))


def our_tokens(number: int, call: dict[str, Any]) -> Tensor:
    pair = pair_of(number)
    torch.manual_seed(number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens = pair.ours.generate(pair.input_ids, pair.attention_mask, **call)
    assert isinstance(tokens, Tensor)
    return tokens


def their_tokens(number: int, call: dict[str, Any]) -> Tensor:
    pair = pair_of(number)
    torch.manual_seed(number)
    lists = {
        "logits_processor": transformers.LogitsProcessorList,
        "stopping_criteria": transformers.StoppingCriteriaList,
    }
    call = {name: lists[name](value) if name in lists else value for name, value in call.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tokens = pair.theirs.generate(pair.input_ids, attention_mask=pair.attention_mask, **call)
    # Without an end of sentence transformers pads beams with -1, which no tokenizer can decode, and we as always.
    return tokens.masked_fill(tokens == -1, call.get("pad_token_id", 1))
