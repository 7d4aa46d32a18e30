"""How the decoder is searched: the arguments of ``generate``, with their defaults and their limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from bart.errors import InputError


@dataclass
class SearchSettings:
    """Arguments of beam search, greedy search and sampling. Lengths count tokens, the decoder's start token included.

    Names, defaults and meaning are those of Hugging Face's generation, so that their configuration files mean the same
    here. A configuration holds a set of these; arguments of one ``generate`` call override it.
    """

    max_length: int = 20
    min_length: int = 0
    num_beams: int = 1
    num_beam_groups: int = 1  # diverse beam search, Vijayakumar et al. 2016, https://arxiv.org/abs/1610.02424
    diversity_penalty: float = 0.0  # subtracted per earlier group that chose the token at this step
    num_return_sequences: int = 1
    length_penalty: float = (
        1.0  # a finished beam scores (sum of log probabilities) / (generated tokens ** length_penalty)
    )
    early_stopping: bool | Literal["never"] = False
    no_repeat_ngram_size: int = 0  # 0 is off
    encoder_no_repeat_ngram_size: int = 0  # n-grams of the source that the output must not contain; 0 is off
    repetition_penalty: float = 1.0  # Keskar et al. 2019, https://arxiv.org/abs/1909.05858; 1 is off
    bad_words_ids: list[list[int]] | None = field(default=None)
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50  # of sampling only; 0 is off
    top_p: float = 1.0  # of sampling only, Holtzman et al. 2019, https://arxiv.org/abs/1904.09751; 1 is off
    output_scores: bool = False
    return_dict_in_generate: bool = False

    @classmethod
    def names(cls) -> list[str]:
        """The names of all search settings."""
        return [setting.name for setting in fields(SearchSettings)]

    def search_settings(self) -> dict[str, Any]:
        """The search settings alone, as a mapping (of a configuration: without the model's shape)."""
        return {name: getattr(self, name) for name in SearchSettings.names()}

    def check_search(self, source: str) -> None:
        """Raise InputError, beginning with ``source``, where a setting is impossible or two contradict each other."""
        for name, problem in _problems(self.search_settings()):
            raise InputError(f"{source}: {name}={getattr(self, name)!r}: {problem}")


def _problems(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Every (name of a setting, what is wrong with it)."""
    problems = []

    def require(name: str, holds: bool, problem: str) -> None:
        if not holds:
            problems.append((name, problem))

    for name, least in (
        ("max_length", 2),
        ("min_length", 0),
        ("num_beams", 1),
        ("num_beam_groups", 1),
        ("num_return_sequences", 1),
        ("no_repeat_ngram_size", 0),
        ("encoder_no_repeat_ngram_size", 0),
        ("top_k", 0),
    ):
        require(
            name, is_whole_number(settings[name]) and settings[name] >= least, f"give a whole number from {least} up"
        )
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        require(name, settings[name] is None or is_token_id(settings[name]), "give a token id or null")
    for name in ("length_penalty", "diversity_penalty", "repetition_penalty", "temperature", "top_p"):
        require(name, is_number(settings[name]), "give a number")
    for name in ("do_sample", "output_scores", "return_dict_in_generate"):
        require(name, isinstance(settings[name], bool), "give true or false")
    early_stopping = settings["early_stopping"]
    require(
        "early_stopping", isinstance(early_stopping, bool) or early_stopping == "never", 'give true, false or "never"'
    )
    require("bad_words_ids", _is_list_of_token_lists(settings["bad_words_ids"]), "give a list of lists of token ids")
    return problems or _contradictions(settings)


def _contradictions(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Settings, each possible by itself, that cannot hold together."""
    beams, groups, returned = settings["num_beams"], settings["num_beam_groups"], settings["num_return_sequences"]
    rules = [
        ("repetition_penalty", settings["repetition_penalty"] > 0, "give a number above 0"),
        ("temperature", settings["temperature"] > 0, "give a number above 0 (do_sample=False is greedy search)"),
        ("top_p", 0 < settings["top_p"] <= 1, "give a number above 0, at most 1"),
        ("diversity_penalty", settings["diversity_penalty"] >= 0, "give a number from 0 up"),
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
    return [(name, problem) for name, holds, problem in rules if not holds]


def is_whole_number(value: object) -> bool:
    """An int, and not a bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A finite int or float, and not a bool."""
    return is_whole_number(value) or (isinstance(value, float) and value - value == 0)


def is_token_id(value: object) -> bool:
    """A whole number from 0 up."""
    return isinstance(value, int) and is_whole_number(value) and value >= 0


def _is_list_of_token_lists(value: object) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, list)
        and len(value) > 0
        and all(isinstance(ids, list) and len(ids) > 0 and all(map(is_token_id, ids)) for ids in value)
    )
