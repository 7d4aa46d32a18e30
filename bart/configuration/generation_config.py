"""The settings of a search, which are arguments of ``generate``, with their defaults and limits."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, Literal

from bart.errors import InputError
from bart.json_files import shown

DEFAULT_NEW_TOKENS = 20  # if neither configuration nor call limits an output's length; as in transformers
MOST_BEAMS = 1024  # also of outputs; more are a slip: each takes memory for its tokens and its attention
MOST_TOKENS = 2**31 - 1  # of a length; a search refuses what exceeds the model's positions
# The least and the greatest of the numbers that scores are multiplied with, divided by and added to. Outside of them
# scores would lose all their digits, or a power of them its value: 2 ** 20 tokens ** 10 is a number, ** 60 is none.
_POWERS = (-10, 10)
_FACTORS = (1e-6, 1e6)
_GREATEST_SUMMAND = 1e6
SPECIAL_TOKENS = ("bos_token_id", "pad_token_id", "eos_token_id", "decoder_start_token_id")


def _setting(default: Any, help: str) -> Any:
    """Return a field with the text that --help has of it; a field without a text is no flag."""
    return field(default=default, metadata={"help": help})


@dataclass
class GenerationConfig:
    """Arguments of beam search, greedy search and sampling.

    Names, defaults and meaning are those of Hugging Face's generation (transformers 5), so configuration files mean the
    same here. A model's configuration has a set of these, which arguments of one ``generate`` call override.
    ``max_length`` and ``min_length`` count all tokens of an output, including the decoder's start token.
    ``max_new_tokens`` and ``min_new_tokens`` count the tokens after those that an output begins with, and take
    precedence.
    """

    # None: DEFAULT_NEW_TOKENS after the tokens that an output begins with
    max_length: int | None = _setting(None, "longest output, in tokens")
    max_new_tokens: int | None = _setting(
        None, "longest output, in tokens without its start token; overrides --max_length"
    )
    min_length: int = _setting(0, "shortest output, in tokens")
    min_new_tokens: int | None = _setting(
        None, "shortest output, in tokens without its start token; overrides --min_length"
    )
    num_beams: int = _setting(1, "beams of the search; 1 is greedy search")
    # Diverse beam search, Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424
    num_beam_groups: int = _setting(
        1, "groups of beams, each of which avoids the tokens that the groups before it choose"
    )
    diversity_penalty: float = _setting(
        0.0, "subtracted from a token's log probability for each beam of an earlier group that has just chosen it"
    )
    num_return_sequences: int = _setting(
        1, "outputs of each source: as many as beams at most, or any number with sampling; the first is scored"
    )
    # A beam scores (sum of log probabilities) / tokens ** length_penalty
    length_penalty: float = _setting(
        1.0, "log probabilities are divided by the length to this power: higher gives longer outputs"
    )
    early_stopping: bool | Literal["never"] = _setting(
        False, "stop at as many finished outputs as beams: true; if better are unlikely: false; if impossible: never"
    )
    no_repeat_ngram_size: int = _setting(0, "length of the n-grams that an output may contain only once; 0 is off")
    encoder_no_repeat_ngram_size: int = _setting(
        0, "length of the n-grams of the source that an output must not contain; 0 is off"
    )
    # Keskar et al. 2019, https://arxiv.org/abs/1909.05858
    repetition_penalty: float = _setting(1.0, "factor against tokens that are already written; 1 is off")
    encoder_repetition_penalty: float = _setting(1.0, "factor in favour of tokens of the source; 1 is off")
    bad_words_ids: list[list[int]] | None = _setting(
        None, "sequences that must not be written, each a list of token ids"
    )
    sequence_bias: list[list[Any]] | None = _setting(
        None, "list of [token ids, number]: the number is added to the score of the last of these tokens"
    )
    suppress_tokens: list[int] | None = _setting(None, "list of token ids that must not be written")
    begin_suppress_tokens: list[int] | None = _setting(None, "list of token ids that an output must not begin with")
    forced_bos_token_id: int | list[int] | None = _setting(None, "id of the token that each output begins with")
    forced_eos_token_id: int | list[int] | None = _setting(
        None, "id of the token that an output of full length ends with"
    )
    exponential_decay_length_penalty: list[float] | None = _setting(
        None, "[tokens, factor]: make the end likelier with each new token after so many"
    )
    do_sample: bool = _setting(False, "draw tokens at random instead of taking the most probable one")
    temperature: float = _setting(1.0, "with sampling: divisor of the log probabilities")
    top_k: int = _setting(50, "with sampling: draw from this many most probable tokens; 0 is off")
    # Holtzman et al. 2019, https://arxiv.org/abs/1904.09751
    top_p: float = _setting(
        1.0, "with sampling: draw from the most probable tokens that together have this probability; 1 is off"
    )
    # Nguyen et al. 2024, https://arxiv.org/abs/2407.01082
    min_p: float | None = _setting(
        None, "with sampling: draw from tokens with at least this share of the highest probability"
    )
    # Meister et al. 2022, https://arxiv.org/abs/2202.00666
    typical_p: float = _setting(
        1.0, "with sampling: draw from the most typical tokens that together have this probability; 1 is off"
    )
    renormalize_logits: bool = _setting(False, "normalize the scores to log probabilities after all other settings")
    output_scores: bool = False
    output_logits: bool = False
    return_dict_in_generate: bool = False

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all search settings."""
        return [setting.name for setting in fields(GenerationConfig)]

    def search_settings(self) -> dict[str, Any]:
        """Return the search settings by name; a model's configuration leaves out its other fields."""
        return {name: getattr(self, name) for name in GenerationConfig.names()}

    def check_search(self, source: str) -> None:
        """Check every setting.

        Args:
            source: of the settings; messages begin with it.

        Raises:
            InputError: a setting is impossible, or two contradict each other.
        """
        for name, problem in _problems(self.search_settings()):
            raise InputError(f"{source}: {name}={shown(getattr(self, name))}: {problem}")

    def tokens_of_search(self) -> Iterator[tuple[str, list[int]]]:
        """Yield the name of each setting that names tokens, and their ids. The settings must have been checked."""
        for name in ("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens"):
            yield name, token_list(getattr(self, name))
        yield "bad_words_ids", list(chain(*(self.bad_words_ids or [])))
        yield "sequence_bias", list(chain(*(ids for ids, _ in self.sequence_bias or [])))

    def longest_output(self, positions: int, prompt_length: int = 1) -> int:
        """Return the greatest number of tokens of an output.

        Args:
            positions: number of positions of the model; they limit only the default.
            prompt_length: number of tokens that every output begins with, which count too.
        """
        if self.max_new_tokens is not None:
            return prompt_length + self.max_new_tokens
        if self.max_length is not None:
            return self.max_length
        return min(prompt_length + DEFAULT_NEW_TOKENS, positions)


def may_be_null(name: str) -> bool:
    """Return whether None is a value of this search setting, and does not stand for its default."""
    return getattr(GenerationConfig, name) is None


def _problems(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each impossible setting, and the problem with it."""
    problems = []

    def require(name: str, holds: bool, problem: str) -> None:
        if not holds and not (settings[name] is None and may_be_null(name)):
            problems.append((name, problem))

    # Numbers and token ids.
    for name, least, most in (
        ("max_length", 2, MOST_TOKENS),
        ("max_new_tokens", 1, MOST_TOKENS),
        ("min_length", 0, MOST_TOKENS),
        ("min_new_tokens", 0, MOST_TOKENS),
        ("num_beams", 1, MOST_BEAMS),
        ("num_beam_groups", 1, MOST_BEAMS),
        ("num_return_sequences", 1, MOST_BEAMS),
        ("no_repeat_ngram_size", 0, MOST_TOKENS),
        ("encoder_no_repeat_ngram_size", 0, MOST_TOKENS),
        ("top_k", 0, MOST_TOKENS),
    ):
        is_inside = is_whole_number(settings[name]) and least <= settings[name] <= most
        require(name, is_inside, f"give a whole number from {least} to {most}")
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        require(name, is_token_id(settings[name]) or is_token_list(settings[name]), "give a token id or null")
    for name in (
        *("length_penalty", "diversity_penalty", "repetition_penalty", "encoder_repetition_penalty"),
        *("temperature", "top_p", "min_p", "typical_p"),
    ):
        require(name, is_number(settings[name]), "give a number")

    # Switches.
    for name in ("do_sample", "renormalize_logits", "output_scores", "output_logits", "return_dict_in_generate"):
        require(name, isinstance(settings[name], bool), "give true or false")
    early_stopping = settings["early_stopping"]
    require(
        "early_stopping", isinstance(early_stopping, bool) or early_stopping == "never", 'give true, false or "never"'
    )

    # Lists.
    require("bad_words_ids", _is_list_of_token_lists(settings["bad_words_ids"]), "give a list of lists of token ids")
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        require(name, settings[name] == [] or is_token_list(settings[name]), "give a list of token ids")
    require("sequence_bias", _is_sequence_bias(settings["sequence_bias"]), "give a list of [token ids, number]")
    require(
        "exponential_decay_length_penalty",
        _is_decay(settings["exponential_decay_length_penalty"]),
        "give [tokens to start after, factor above 0, at most 1e6]",
    )

    return problems or _contradictions(settings)


def _contradictions(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each setting that is out of range or contradicts another one, and the problem with it."""
    beams, groups, returned = settings["num_beams"], settings["num_beam_groups"], settings["num_return_sequences"]
    min_p, suppressed = settings["min_p"], set(settings["suppress_tokens"] or [])
    # Each rule: the setting, whether the rule holds, and the problem if it does not.
    rules = [
        ("length_penalty", _POWERS[0] <= settings["length_penalty"] <= _POWERS[1], "give a number from -10 to 10"),
        *(
            (name, _FACTORS[0] <= settings[name] <= _FACTORS[1], "give a number above 0, from 1e-6 to 1e6")
            for name in ("repetition_penalty", "encoder_repetition_penalty")
        ),
        (
            "temperature",
            _FACTORS[0] <= settings["temperature"] <= _FACTORS[1],
            "give a number above 0, from 1e-6 to 1e6 (do_sample=False is greedy search)",
        ),
        ("top_p", 0 < settings["top_p"] <= 1, "give a number above 0, at most 1"),
        ("min_p", min_p is None or 0 <= min_p <= 1, "give a number from 0 to 1"),
        ("typical_p", 0 < settings["typical_p"] <= 1, "give a number above 0, at most 1"),
        ("diversity_penalty", 0 <= settings["diversity_penalty"] <= _GREATEST_SUMMAND, "give a number from 0 to 1e6"),
        ("num_beam_groups", beams % groups == 0, f"it must divide num_beams={beams}"),
        (
            "num_beam_groups",
            groups == 1 or not settings["do_sample"],
            "groups of beams cannot be sampled (do_sample=True)",
        ),
        ("diversity_penalty", settings["diversity_penalty"] == 0 or groups > 1, "it needs num_beam_groups above 1"),
        (
            "num_return_sequences",
            returned <= beams or (beams == 1 and settings["do_sample"]),
            f"more than num_beams={beams} can be returned only by sampling without beams",
        ),
    ]

    # A token cannot be both forced and suppressed.
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = set(token_list(settings[name]))
        rules.append((name, not forced or not forced <= suppressed, "suppress_tokens bans it; leave one of them out"))
    return [(name, problem) for name, holds, problem in rules if not holds]


def is_whole_number(value: object) -> bool:
    """Return whether this is an int, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether this is an int or float, no bool, and finite as a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_token_id(value: object) -> bool:
    """Return whether this is a whole number from 0 up."""
    return isinstance(value, int) and is_whole_number(value) and value >= 0


def is_token_list(value: object) -> bool:
    """Return whether this is a list of one or more token ids."""
    return isinstance(value, list) and len(value) > 0 and all(map(is_token_id, value))


def token_list(tokens: object) -> list[int]:
    """Return one token id or several as a list; an empty one for None or anything else."""
    if isinstance(tokens, int) and is_token_id(tokens):
        return [tokens]
    return list(tokens) if isinstance(tokens, list) and is_token_list(tokens) else []


def _is_list_of_token_lists(value: object) -> bool:
    """Return whether this is a list of one or more lists of token ids."""
    return isinstance(value, list) and len(value) > 0 and all(map(is_token_list, value))


def _is_sequence_bias(value: object) -> bool:
    """Return whether this is a list of [token ids, number]; the number is at most 1e6 in size, or -inf."""

    def is_bias(pair: object) -> bool:
        if not isinstance(pair, list) or len(pair) != 2:
            return False
        is_sound = is_number(pair[1]) and abs(pair[1]) <= _GREATEST_SUMMAND
        return is_token_list(pair[0]) and (is_sound or pair[1] == -float("inf"))

    return isinstance(value, list) and len(value) > 0 and all(map(is_bias, value))


def _is_decay(value: object) -> bool:
    """Return whether this is [tokens to start after, factor above 0 and at most 1e6]."""
    if not isinstance(value, list) or len(value) != 2:
        return False
    return is_token_id(value[0]) and is_number(value[1]) and bool(0 < value[1] <= _FACTORS[1])
