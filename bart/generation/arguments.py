"""Resolving the arguments of one ``generate`` call against the model's configuration."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.generation_config import (
    SPECIAL_TOKENS,
    GenerationConfig,
    is_token_id,
    is_token_list,
    may_be_null,
    token_list,
)
from bart.configuration.generation_files import LEFT_OUT, WITHOUT_EFFECT
from bart.errors import InputError

OF_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")
# Arguments of transformers' generate that are not settings, and why, or what to give instead.
_LEFT_OUT_OF_CALLS = {
    "inputs": "give input_ids",
    "inputs_embeds": "give input_ids or encoder_outputs",
    "decoder_inputs_embeds": "give decoder_input_ids",
    "decoder_attention_mask": "every token of decoder_input_ids is read",
    "past_key_values": "every search has its own cache",
    "streamer": "beams change until the end; give stopping_criteria to watch a search",
    "assistant_model": "speculative decoding is not offered",
    "tokenizer": "no argument needs it",
    "custom_generate": "code from elsewhere is not run",
    "trust_remote_code": "code from elsewhere is not run",
    "negative_prompt_ids": "a second prompt is not offered",
    "negative_prompt_attention_mask": "a second prompt is not offered",
    "synced_gpus": "no search waits for another process",
}
_IDLE = (None, False)


@dataclass
class SpecialTokens:
    """The tokens that begin, end and pad the outputs of one search."""

    start: int
    pad: int
    eos: list[int]  # any of them ends an output; empty: its length does


def check_call(config: BartConfig, call: Mapping[str, Any]) -> GenerationConfig:
    """Return the settings of a ``generate`` call without ``decoder_input_ids``, and do not run it.

    Args:
        config: the model's configuration.
        call: the keyword arguments of the call.

    Raises:
        InputError: the call is one that ``generate`` refuses.

    Warns:
        UserWarning: a length of the call has no effect; see ``resolve_settings``.
    """
    given = flatten_call(call)
    resolve_special_tokens(config, given)
    return resolve_settings(config, given)


def flatten_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings and special tokens of a call by name, including those of its ``generation_config``.

    Raises:
        InputError: an argument is unknown or not supported, or two arguments exclude each other.
    """
    given = {**_of_object(call.get("generation_config")), **call}
    given.pop("generation_config", None)
    _refuse_unknown(given)
    for name, other in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        if call.get(name) is not None and call.get(other) is not None:
            raise InputError(f"generate: {name} and {other} exclude each other; give one of them")
    return given


def resolve_special_tokens(config: BartConfig, given: Mapping[str, Any]) -> SpecialTokens:
    """Return the special tokens of one search.

    As in transformers, None means: no token ends a sentence (``eos_token_id``); pad with the first of those that do
    (``pad_token_id``); start with ``bos_token_id`` (``decoder_start_token_id``).

    Raises:
        InputError: a token is no token id, is not in the vocabulary, or there is none to start with.
    """
    ids = {name: given.get(name, getattr(config, name)) for name in SPECIAL_TOKENS}
    for name, value in ids.items():
        is_sound = value is None or is_token_id(value) or (name == "eos_token_id" and is_token_list(value))
        if not is_sound:
            wanted = "one token id or a list of several" if name == "eos_token_id" else "one token id"
            raise InputError(f"generate: {name}={value!r}: give {wanted}")
        _refuse_foreign(name, token_list(value), config.vocab_size)
    eos = token_list(ids["eos_token_id"])
    start = ids["bos_token_id"] if ids["decoder_start_token_id"] is None else ids["decoder_start_token_id"]
    pad = (eos[0] if eos else config.pad_token_id) if ids["pad_token_id"] is None else ids["pad_token_id"]
    if start is None:
        raise InputError("generate: decoder_start_token_id=None: give it or bos_token_id")
    return SpecialTokens(start, pad, eos)


def resolve_settings(config: BartConfig, given: Mapping[str, Any], prompt_length: int = 1) -> GenerationConfig:
    """Return the settings of one search, with every limit on its length resolved to ``max_length``, ``min_length``.

    Args:
        config: the model's configuration, for all that is not given.
        given: from ``flatten_call``. None stands for the configuration's value, unless the setting's default is None.
        prompt_length: number of tokens that every output begins with, including the start token.

    Raises:
        InputError: a setting is impossible, or two contradict each other.

    Warns:
        UserWarning: ``max_length`` of the call loses to ``max_new_tokens`` of the configuration, as in transformers; or
            the shortest length exceeds the longest, and not both are of the call: every output is cut at the longest.
    """
    chosen = {
        name: _as_json(name, value)
        for name, value in given.items()
        if name in GenerationConfig.names() and (value is not None or may_be_null(name))
    }
    settings = replace(GenerationConfig(**config.search_settings()), **chosen)
    settings.check_search("generate")
    _refuse_what_has_no_effect(settings, given)
    _refuse_foreign_tokens(settings, config.vocab_size)
    return _with_lengths(settings, config, given, prompt_length)


def _as_json(name: str, value: Any) -> Any:
    """Convert a mapping or tuple to the lists that a configuration file has for the same setting."""
    if name == "sequence_bias" and isinstance(value, Mapping):
        return [[list(ids), bias] for ids, bias in value.items()]
    return list(value) if isinstance(value, tuple) else value


def _of_object(generation_config: Any) -> dict[str, Any]:
    """Return the settings of a ``generation_config``: a mapping, or an object with ``to_dict`` as in transformers."""
    if generation_config is None:
        return {}
    if isinstance(generation_config, GenerationConfig):
        return generation_config.search_settings()
    values = generation_config.to_dict() if hasattr(generation_config, "to_dict") else generation_config
    if not isinstance(values, Mapping):
        raise InputError("generate: generation_config: give a GenerationConfig or a mapping of settings")
    return {name: value for name, value in values.items() if value is not None}


def _refuse_unknown(given: Mapping[str, Any]) -> None:
    """Raise InputError for an argument that is unknown, or that would need what is not supported."""
    known = {*GenerationConfig.names(), *SPECIAL_TOKENS, *WITHOUT_EFFECT}
    for name, value in given.items():
        idle, reason = LEFT_OUT.get(name, (_IDLE, _LEFT_OUT_OF_CALLS.get(name)))
        if reason is not None and value not in idle:
            raise InputError(f"generate: {name} is not supported: {reason}")
        known.update([name] if reason is not None else [])
    for name in ("output_attentions", "output_hidden_states"):
        if given.get(name):
            raise InputError(f"generate: {name} is not supported: the attention is computed without its weights")
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"generate: there is no argument {', '.join(unknown)}")


def _refuse_what_has_no_effect(settings: GenerationConfig, given: Mapping[str, Any]) -> None:
    """Raise InputError for an argument of sampling in a call that does not sample."""
    if settings.do_sample:
        return
    for name in OF_SAMPLING:
        if given.get(name) is not None and given[name] != getattr(GenerationConfig, name):
            raise InputError(f"generate: {name}={given[name]!r} needs do_sample=True")


def _refuse_foreign_tokens(settings: GenerationConfig, vocab_size: int) -> None:
    """Raise InputError if a setting names a token that is not in the vocabulary."""
    for name, tokens in settings.tokens_of_search():
        _refuse_foreign(name, tokens, vocab_size)


def _refuse_foreign(name: str, tokens: Iterable[int], vocab_size: int) -> None:
    for token in tokens:
        if token >= vocab_size:
            raise InputError(f"generate: {name}: token {token} is outside the vocabulary of {vocab_size}")


def _with_lengths(
    settings: GenerationConfig, config: BartConfig, given: Mapping[str, Any], prompt_length: int
) -> GenerationConfig:
    """Return the settings with ``max_length`` and ``min_length`` alone; see ``resolve_settings``."""
    # The longest output.
    asked = {name for name in ("max_length", "max_new_tokens", "min_length", "min_new_tokens") if given.get(name)}
    longest = settings.longest_output(config.max_position_embeddings, prompt_length)
    of_longest = "max_length" if settings.max_new_tokens is None else "max_new_tokens"
    if of_longest == "max_new_tokens" and "max_length" in asked and "max_new_tokens" not in asked:
        reason = f"since the configuration has max_new_tokens={settings.max_new_tokens}: give max_new_tokens"
        warnings.warn(f"max_length={settings.max_length} has no effect, {reason}", UserWarning, stacklevel=5)
    if longest - 1 > config.max_position_embeddings:
        raise InputError(
            f"generate: {of_longest}={getattr(settings, of_longest)} exceeds the model's"
            f" {config.max_position_embeddings} positions"
        )
    if longest <= prompt_length:
        raise InputError(
            f"generate: decoder_input_ids: {prompt_length} tokens leave no room in max_length={longest}; give more"
        )

    # The shortest output.
    shortest, of_shortest = settings.min_length, "min_length"
    if settings.min_new_tokens is not None:
        shortest, of_shortest = prompt_length + settings.min_new_tokens, "min_new_tokens"

    # Together: a contradiction within the call is an error, one with the configuration a warning.
    if shortest > longest:
        limit = getattr(settings, of_longest) or longest
        problem = f"{of_shortest}={getattr(settings, of_shortest)} is above {of_longest}={limit}"
        if {of_shortest, of_longest} <= asked:
            raise InputError(f"generate: {problem}")
        warnings.warn(f"{problem}: every output will be cut at {longest} tokens", UserWarning, stacklevel=5)
    return replace(settings, max_length=longest, min_length=shortest, max_new_tokens=None, min_new_tokens=None)
