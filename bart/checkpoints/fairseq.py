"""Reading fairseq's model.pt (https://github.com/facebookresearch/fairseq, fairseq/models/bart), by BART's authors.

Besides the weights the file holds the settings of the training, as objects of argparse, omegaconf or fairseq. Their
classes are neither imported nor run: an inert object takes the place of each, whatever its name.
"""

import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from bart.checkpoints.safe_load import load_weights_only
from bart.configuration.configuration_bart import POSITION_OFFSET, BartConfig
from bart.errors import InputError

SUFFIX = ".pt"
_PICKLES_IN_AN_OLD_FILE = 4  # of torch < 1.6: a magic number, a protocol, the system; the fourth is what was saved
_SIDES = ("encoder", "decoder")
_PER_SIDE = {"layers": "layers", "attention_heads": "attention_heads", "ffn_dim": "ffn_embed_dim"}


def read_fairseq_config(path: Path) -> BartConfig:
    """Read the configuration: shape and dropouts. Search settings are the defaults, since fairseq stores none.

    Raises:
        InputError: the file is not a model.pt of fairseq, lacks a setting, or holds another model than BART.
    """
    stored = _load(path)
    weights = _weights(stored, path)
    settings = _settings(stored, path)

    def setting(name: str) -> Any:
        """Return a setting that every BART has."""
        if settings.get(name) is None:
            raise InputError(f"its settings lack {name}; is it a BART of fairseq?")
        return settings[name]

    # An error here is about a setting or a tensor; the path is added to its message.
    try:
        return BartConfig(
            **{f"{side}_{ours}": setting(f"{side}_{theirs}") for side in _SIDES for ours, theirs in _PER_SIDE.items()},
            **{f"{side}_layerdrop": settings.get(f"{side}_layerdrop") for side in _SIDES},
            vocab_size=len(weights["encoder.embed_tokens.weight"]),
            max_position_embeddings=len(weights["encoder.embed_positions.weight"]) - POSITION_OFFSET,
            d_model=setting("encoder_embed_dim"),
            activation_function=setting("activation_fn"),
            scale_embedding=not setting("no_scale_embedding"),
            dropout=settings.get("dropout"),
            attention_dropout=settings.get("attention_dropout"),
            activation_dropout=settings.get("activation_dropout") or settings.get("relu_dropout"),
            normalize_before=any(bool(settings.get(f"{side}_normalize_before")) for side in _SIDES),
            normalize_embedding=bool(setting("layernorm_embedding")),
            static_position_embeddings=not setting("encoder_learned_pos"),
            tie_word_embeddings=bool(setting("share_all_embeddings")),
        )
    except KeyError as error:
        raise InputError(f"{path}: lacks {error.args[0]}; is it a BART of fairseq?") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_fairseq_weights(path: Path) -> dict[str, Tensor]:
    """Read all tensors, under the names of Hugging Face's ``BartModel``; some may be of no use to a summarizer.

    Raises:
        InputError: the file is not a model.pt of fairseq.
    """
    renamed = {}
    for name, tensor in _weights(_load(path), path).items():
        if ".in_proj_" in name:  # before November 2019: three matrices, or biases, in one
            for projection, part in zip("qkv", tensor.chunk(3), strict=True):
                renamed[name.replace("in_proj_", f"{projection}_proj.")] = part
        elif name == "decoder.output_projection.weight":
            renamed["lm_head.weight"] = tensor
        else:
            renamed[name] = tensor
    return renamed


def _weights(stored: Any, path: Path) -> dict[str, Tensor]:
    """Return the state dict of a loaded file."""
    weights = stored.get("model") if isinstance(stored, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise InputError(f"{path}: holds no state dict under `model`; is it a model.pt of fairseq?")
    return weights


def _settings(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the model's settings: ``args`` in older files, ``cfg.model`` in newer ones."""
    settings = _as_dict(stored.get("args")) or _as_dict(_as_dict(stored.get("cfg")).get("model"))
    if not settings:
        raise InputError(f"{path}: holds no settings under `args` or `cfg`; is it a model.pt of fairseq?")
    return {name: _plain(value) for name, value in settings.items()}


def _as_dict(settings: Any) -> dict[str, Any]:
    """Convert a dict, a namespace or a configuration of omegaconf (which has its values in ``_content``)."""
    settings = _plain(settings)
    attributes = settings if isinstance(settings, dict) else getattr(settings, "__dict__", {})
    content = attributes.get("_content", attributes)
    return content if isinstance(content, dict) else {}


def _plain(value: Any) -> Any:
    """Return the value of a node of omegaconf; anything else as it is."""
    return value.__dict__.get("_val", value) if isinstance(value, _Unknown) else value


class _Unknown:
    """Stands in for any object that is no tensor or plain container: it keeps attributes, and runs nothing."""

    def __new__(cls, *_: Any) -> "_Unknown":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None:
        """Accept any arguments."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, *_: Any) -> None:
        """Accept the items of a subclass of dict, and drop them."""


def _load(path: Path) -> Any:
    """Load the file, with tensors on the CPU. Raises InputError."""
    try:
        with path.open("rb") as file:
            names = sorted(_named_classes(file))
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as a model.pt of fairseq: {error}") from error
    # torch prefers its own safe classes to these, and refuses modules that it forbids by name (os, sys).
    with torch.serialization.safe_globals([(_Unknown, name) for name in names]):
        return load_weights_only(path)


def _named_classes(file: BinaryIO) -> set[str]:
    """Return the classes and functions that a pickle names, but for torch's own, which torch checks itself."""
    names: set[str] = set()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            with archive.open(member) as pickle:
                names |= _names_in(pickle)
    else:
        file.seek(0)
        for _ in range(_PICKLES_IN_AN_OLD_FILE):
            names |= _names_in(file)
    return {name for name in names if not name.startswith("torch.") and name != "collections.OrderedDict"}


def _names_in(pickle: Any) -> set[str]:
    """Return the dotted names of the globals in one pickle."""
    found = {str(value) for code, value, _ in pickletools.genops(pickle) if code.name == "GLOBAL"}
    return {".".join(_name_today(*name.split(" ", 1))) for name in found}


def _name_today(module: str, name: str) -> tuple[str, str]:
    """Translate a name of Python 2, as torch's pickles have it: ``__builtin__ long`` becomes ``builtins int``."""
    return NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
