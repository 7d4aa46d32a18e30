"""The configuration of a BART model: its shape, special tokens, dropouts and default search settings."""

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from bart.configuration.generation_config import (
    SPECIAL_TOKENS,
    GenerationConfig,
    is_number,
    is_token_id,
    is_token_list,
    is_whole_number,
    token_list,
)
from bart.configuration.generation_files import OLD_FORCED_BOS, doubtful_settings, search_of_folder
from bart.errors import InputError
from bart.hub import find_file
from bart.json_files import read_json_object, shown, write_json_object

_MOST_NAMED = 20  # settings in one warning
_MOST_KEYS = 1000  # of a file of settings; published ones have up to a hundred
# The greatest shape that is built: above it a number is a slip, or would only take all memory.
_GREATEST = {
    "vocab_size": 2**24,
    "max_position_embeddings": 2**20,
    "d_model": 2**16,
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 256),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2**12),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 2**20),
}
POSITION_OFFSET = 2  # the first two rows of BART's position table are never used (fairseq counts from the padding id)

# Settings in files of the reference and of early Hugging Face models, with the only value that a BART can have.
_FIXED_BY_ARCHITECTURE = {
    "is_encoder_decoder": True,
    "normalize_before": False,
    "normalize_embedding": True,
    "add_final_layer_norm": False,
    "add_bias_logits": False,
    "static_position_embeddings": False,
    "tie_word_embeddings": True,
    "extra_pos_embeddings": POSITION_OFFSET,
    "model_type": "bart",
}
# Written to config.json only; CTranslate2's converter, for example, needs them.
_MODEL_FILE_ONLY = {"architectures": ["BartForConditionalGeneration"], **_FIXED_BY_ARCHITECTURE}


@dataclass(init=False)
class BartConfig(GenerationConfig):
    """A BART model (Lewis et al. 2019, section 2.1) and its default search. The defaults are bart-large's.

    ``BartConfig(**json.load(file))`` takes the files of the reference and of transformers; keys that do not concern a
    summarizer are ignored.
    """

    vocab_size: int = 50265
    max_position_embeddings: int = 1024
    d_model: int = 1024
    encoder_layers: int = 12
    decoder_layers: int = 12
    encoder_attention_heads: int = 16
    decoder_attention_heads: int = 16
    encoder_ffn_dim: int = 4096
    decoder_ffn_dim: int = 4096
    activation_function: str = "gelu"
    scale_embedding: bool = False
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    encoder_layerdrop: float = 0.0  # Fan et al. 2019, https://arxiv.org/abs/1909.11556
    decoder_layerdrop: float = 0.0
    init_std: float = 0.02
    bos_token_id: int = 0
    pad_token_id: int = 1
    eos_token_id: int | list[int] | None = 2  # any of several ends an output; None: none does
    decoder_start_token_id: int = 2
    forced_eos_token_id: int | list[int] | None = 2
    prefix: str = ""  # put before every source and target text
    fp16: bool = False  # read only by the reference's scripts; here the precision is chosen when a model is run

    def __init__(self, /, **values: Any) -> None:
        """Take the fields by name; None stands for the default, unless None is a value of the field.

        Raises:
            InputError: a value is impossible, or belongs to another model than BART.
        """
        for setting in fields(self):
            value = values.get(setting.name, setting.default)
            may_be_null = setting.default is None or setting.name in ("forced_eos_token_id", "eos_token_id")
            if setting.type is float and is_whole_number(value) and is_number(value):
                value = float(value)  # transformers refuses the int 0 for a dropout
            setattr(self, setting.name, setting.default if value is None and not may_be_null else value)

        # Bring older and equivalent forms into one.
        if self.forced_bos_token_id is None and values.get(OLD_FORCED_BOS):
            self.forced_bos_token_id = self.bos_token_id
        for name in ("eos_token_id", "forced_bos_token_id", "forced_eos_token_id"):
            value = getattr(self, name)
            if isinstance(value, list) and len(value) == 1:
                setattr(self, name, value[0])

        for name, only in _FIXED_BY_ARCHITECTURE.items():
            if values.get(name, only) not in (only, None):
                raise InputError(
                    f"configuration: {name}={shown(values[name])} is another model than BART (BART: {only!r})"
                )
        self.check()

    def check(self) -> None:
        """Check every field.

        Raises:
            InputError: a value is impossible; the message names the field.
        """
        # The shape and the dropouts.
        for name, most in _GREATEST.items():
            value = getattr(self, name)
            self._require(name, is_whole_number(value) and value > 0, "give a whole number above 0")
            self._require(name, value <= most, f"give {most} at most")
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            self._require(name, self.d_model % getattr(self, name) == 0, f"it must divide d_model={self.d_model}")
        for name in ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop"):
            value = getattr(self, name)
            self._require(name, is_number(value) and 0 <= value < 1, "give a probability from 0 up, below 1")

        # The special tokens.
        for name in ("bos_token_id", "pad_token_id", "decoder_start_token_id"):
            self._require(name, is_token_id(getattr(self, name)), "give one token id")
        eos = self.eos_token_id
        is_sound = eos is None or is_token_id(eos) or is_token_list(eos)
        self._require("eos_token_id", is_sound, "give one token id or a list of several")
        for name in SPECIAL_TOKENS:
            self._require_tokens(name, token_list(getattr(self, name)))

        # Everything else.
        self._require("activation_function", self.activation_function in ("gelu", "relu"), "give gelu or relu")
        self._require("init_std", is_number(self.init_std) and self.init_std > 0, "give a number above 0")
        self._require("init_std", self.init_std <= 100, "give 100 at most")
        self._require("prefix", isinstance(self.prefix, str), "give a text")
        for name in ("scale_embedding", "fp16"):
            self._require(name, isinstance(getattr(self, name), bool), "give true or false")
        self.check_search("configuration")
        for name, tokens in self.tokens_of_search():
            self._require_tokens(name, tokens)

    def _require(self, name: str, holds: bool, problem: str) -> None:
        """Raise InputError with ``problem`` about a field, unless ``holds``."""
        if not holds:
            raise InputError(f"configuration: {name}={shown(getattr(self, name))}: {problem}")

    def _require_tokens(self, name: str, tokens: Iterable[int]) -> None:
        """Raise InputError about a field unless all of its token ids are in the vocabulary."""
        is_inside = all(token < self.vocab_size for token in tokens)
        self._require(name, is_inside, f"it is outside vocab_size={self.vocab_size}")

    def to_dict(self) -> dict[str, Any]:
        """Return all fields by name, as plain JSON types."""
        return {setting.name: getattr(self, setting.name) for setting in fields(self)}

    def copy(self, **changes: Any) -> "BartConfig":
        """Return a new configuration with some fields changed. Raises InputError."""
        unknown = changes.keys() - self.to_dict().keys()
        if unknown:
            raise InputError(f"configuration: there is no field {', '.join(sorted(unknown))}")
        return BartConfig(**{**self.to_dict(), **changes})

    @classmethod
    def from_json_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read one JSON file with all fields, such as configs/*.json and the reference's files. Raises InputError."""
        if not Path(path).exists():
            raise InputError(f"{os.fspath(path)}: no such file; give a JSON configuration such as configs/config.json")
        values = _read_settings(Path(path))
        _warn_of_doubtful(values, Path(path), is_search_alone=False)
        return cls._from_file_values(values, path)

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike[str]) -> Self:
        """Read the configuration of a Hugging Face folder or hub id.

        If there is a generation_config.json, search settings come only from there, as in transformers;
        ``search_of_folder`` describes their meaning.

        Raises:
            InputError: there is no config.json, or a value is impossible.

        Warns:
            UserWarning: a setting that would change the output is misspelt or not supported.
        """
        path = find_file(name_or_path, "config.json")
        if path is None:
            raise InputError(f"{os.fspath(name_or_path)}: no config.json there; give a folder that holds a model")
        values = _read_settings(path)
        search_path = find_file(name_or_path, "generation_config.json")
        search = None if search_path is None else _read_settings(search_path)
        _warn_of_doubtful(values if search is None else search, search_path or path, is_search_alone=search is not None)
        of_search = (*cls.names(), *SPECIAL_TOKENS, OLD_FORCED_BOS)
        own = {name: value for name, value in values.items() if name not in of_search}
        cls._from_file_values(own, path)  # first alone, so that a refusal names the file that is at fault
        return cls._from_file_values({**own, **search_of_folder(values, search)}, search_path or path)

    @classmethod
    def _from_file_values(cls, values: dict[str, Any], path: str | os.PathLike[str]) -> Self:
        """Make a configuration of the values in a file, and name the file in errors."""
        try:
            return cls(**values)
        except InputError as error:
            raise InputError(f"{os.fspath(path)}: {error}") from error

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json (model) and generation_config.json (search), as transformers does. Raises OSError."""
        search = self.search_settings()
        ids = {name: getattr(self, name) for name in SPECIAL_TOKENS}
        model = {name: value for name, value in self.to_dict().items() if name not in search and name != "fp16"}
        # Also here: transformers' model configuration has this one of the forced ids, and 2 is its default.
        model["forced_eos_token_id"] = self.forced_eos_token_id
        write_json_object({**_MODEL_FILE_ONLY, **model}, Path(folder) / "config.json")
        given = {name: value for name, value in search.items() if value is not None}
        write_json_object({**ids, **given}, Path(folder) / "generation_config.json")


def _warn_of_doubtful(values: dict[str, Any], path: Path, *, is_search_alone: bool) -> None:
    """Warn about search settings of a file that have no effect."""
    doubtful = doubtful_settings(values, is_search_alone=is_search_alone)
    if doubtful:
        more = [f"and {len(doubtful) - _MOST_NAMED} more"] if len(doubtful) > _MOST_NAMED else []
        text = f"{path}: search settings without effect: {'; '.join([*doubtful[:_MOST_NAMED], *more])}"
        warnings.warn(text, UserWarning, stacklevel=3)


def _read_settings(path: Path) -> dict[str, Any]:
    """Read a file of settings. Raises InputError."""
    values = read_json_object(path)
    if len(values) > _MOST_KEYS:
        raise InputError(f"{path}: has {len(values):,} keys, as no configuration has; give another file")
    return values
