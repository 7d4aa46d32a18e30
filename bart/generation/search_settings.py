"""The settings of one search: what the call says, over what the configuration says."""

import warnings
from dataclasses import replace
from typing import Any

from bart.configuration.configuration_bart import BartConfig
from bart.configuration.search_settings import SearchSettings
from bart.errors import InputError

_OF_SAMPLING = ("temperature", "top_k", "top_p")


def resolve_search_settings(config: BartConfig, call: dict[str, Any]) -> SearchSettings:
    """Settings for one ``generate`` call.

    Raises:
        InputError: the call has an unknown argument, an impossible value, or two that contradict each other.

    Warns:
        UserWarning: the configuration's min_length exceeds the call's max_length. The output then ends at max_length.
    """
    unknown = [name for name in call if name not in SearchSettings.names()]
    if unknown:
        raise InputError(f"generate: there is no argument {', '.join(unknown)}")
    configured = SearchSettings(**config.search_settings())
    settings = replace(configured, **call)
    settings.check_search("generate")
    _refuse_what_has_no_effect(settings, call)
    _refuse_foreign_tokens(settings, config.vocab_size)
    if settings.max_length - 1 > config.max_position_embeddings:
        raise InputError(
            f"generate: max_length={settings.max_length} exceeds the model's {config.max_position_embeddings} positions"
        )
    if settings.min_length > settings.max_length:
        problem = f"min_length={settings.min_length} is above max_length={settings.max_length}"
        if "min_length" in call and "max_length" in call:
            raise InputError(f"generate: {problem}")
        warnings.warn(f"{problem}: every output will be cut at max_length", UserWarning, stacklevel=4)
    return settings


def _refuse_foreign_tokens(settings: SearchSettings, vocab_size: int) -> None:
    banned = [token for word in settings.bad_words_ids or [] for token in word]
    named: dict[str, list[Any]] = {
        "forced_bos_token_id": [settings.forced_bos_token_id],
        "forced_eos_token_id": [settings.forced_eos_token_id],
        "bad_words_ids": banned,
    }
    for name, tokens in named.items():
        for token in tokens:
            if token is not None and token >= vocab_size:
                raise InputError(f"generate: {name}: token {token} is outside the vocabulary of {vocab_size}")


def _refuse_what_has_no_effect(settings: SearchSettings, call: dict[str, Any]) -> None:
    """An argument of sampling in a call that does not sample contradicts that call."""
    if settings.do_sample:
        return
    for name in _OF_SAMPLING:
        if name in call and call[name] != getattr(SearchSettings, name):
            raise InputError(f"generate: {name}={call[name]!r} needs do_sample=True")
