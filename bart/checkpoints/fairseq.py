"""Reading fairseq's model.pt (https://github.com/facebookresearch/fairseq, fairseq/models/bart), by BART's authors.

Besides the weights the file holds the settings of the training, as objects of argparse, omegaconf or fairseq. Their
classes are neither imported nor run: an inert object takes the place of each, whatever its name.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from bart.checkpoints.pickle_reader import Unknown
from bart.checkpoints.safe_load import is_plain, load_weights_only, plain_tensors
from bart.configuration.configuration_bart import POSITION_OFFSET, BartConfig
from bart.errors import InputError

SUFFIX = ".pt"
_SIDES = ("encoder", "decoder")
_PER_SIDE = {"layers": "layers", "attention_heads": "attention_heads", "ffn_dim": "ffn_embed_dim"}


def read_fairseq(path: Path) -> Any:
    """Read a model.pt, of whatever content. Raises InputError."""
    return load_weights_only(path, keep_objects=True)


def fairseq_config(stored: Any, path: Path) -> BartConfig:
    """Return the configuration: shape and dropouts. Search settings are the defaults, since fairseq stores none.

    Raises:
        InputError: the file is not a model.pt of fairseq, lacks a setting, or holds another model than BART.
    """
    weights = _weights(stored, path)
    settings = _settings(stored, path)

    def optional(name: str) -> Any:
        """Return a setting, or None if it is missing."""
        value = settings.get(name)
        if not is_plain(value):
            raise InputError(f"its setting {name} is a {type(value).__name__}; is it a BART of fairseq?")
        return value

    def setting(name: str) -> Any:
        """Return a setting that every BART has."""
        value = optional(name)
        if value is None:
            raise InputError(f"its settings lack {name}; is it a BART of fairseq?")
        return value

    def rows(name: str) -> int:
        """Return the length of a table of embeddings."""
        table = weights.get(name)
        if table is None or table.ndim != 2:
            raise InputError(f"lacks {name}; is it a BART of fairseq?")
        return len(table)

    # An error here is about a setting or a tensor; the path is added to its message.
    try:
        return BartConfig(
            **{f"{side}_{ours}": setting(f"{side}_{theirs}") for side in _SIDES for ours, theirs in _PER_SIDE.items()},
            **{f"{side}_layerdrop": optional(f"{side}_layerdrop") for side in _SIDES},
            vocab_size=rows("encoder.embed_tokens.weight"),
            max_position_embeddings=rows("encoder.embed_positions.weight") - POSITION_OFFSET,
            d_model=setting("encoder_embed_dim"),
            activation_function=setting("activation_fn"),
            scale_embedding=not setting("no_scale_embedding"),
            dropout=optional("dropout"),
            attention_dropout=optional("attention_dropout"),
            activation_dropout=optional("activation_dropout") or optional("relu_dropout"),
            normalize_before=any(bool(optional(f"{side}_normalize_before")) for side in _SIDES),
            normalize_embedding=bool(setting("layernorm_embedding")),
            static_position_embeddings=not setting("encoder_learned_pos"),
            tie_word_embeddings=bool(setting("share_all_embeddings")),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def fairseq_weights(stored: Any, path: Path) -> dict[str, Tensor]:
    """Return all tensors, under the names of Hugging Face's ``BartModel``; some may be of no use to a summarizer.

    Raises:
        InputError: the file is not a model.pt of fairseq.
    """
    renamed = {}
    for name, tensor in _weights(stored, path).items():
        if ".in_proj_" in name:  # before November 2019: three matrices, or biases, in one
            if tensor.ndim == 0 or len(tensor) % 3 != 0:
                raise InputError(f"{path}: {name} is {tuple(tensor.shape)}, not three projections in one")
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
    if not isinstance(weights, dict):
        raise InputError(f"{path}: holds no state dict under `model`; is it a model.pt of fairseq?")
    return plain_tensors(weights, path)


def _settings(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the model's settings: ``args`` in older files, ``cfg.model`` in newer ones."""
    settings = _as_dict(stored.get("args")) or _as_dict(_as_dict(stored.get("cfg")).get("model"))
    if not settings:
        raise InputError(f"{path}: holds no settings under `args` or `cfg`; is it a model.pt of fairseq?")
    return {name: _plain(value) for name, value in settings.items()}


def _as_dict(settings: Any) -> dict[str, Any]:
    """Convert a dict, a namespace or a configuration of omegaconf (which has its values in ``_content``)."""
    settings = _plain(settings)
    attributes = settings.attributes if isinstance(settings, Unknown) else settings
    if not isinstance(attributes, dict):
        return {}
    content = attributes.get("_content", attributes)
    return content if isinstance(content, dict) else {}


def _plain(value: Any) -> Any:
    """Return the value of a node of omegaconf; anything else as it is."""
    return value.attributes.get("_val", value) if isinstance(value, Unknown) else value
