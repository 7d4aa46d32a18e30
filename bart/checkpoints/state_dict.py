"""Convert the tensors of a file, whatever names it has for them, to a model's state dict.

Names depend on the program that wrote the file; docs/published_checkpoints.md lists the forms and their sources.
"""

import logging
import math
from collections.abc import Mapping

import torch
from torch import Tensor

from bart.checkpoints.more_positions import repeat_positions
from bart.errors import InputError

# The fields of a configuration that say what shapes the tensors have, but for vocab_size.
SHAPE = (
    *("max_position_embeddings", "d_model", "encoder_layers", "decoder_layers"),
    *("encoder_attention_heads", "decoder_attention_heads", "encoder_ffn_dim", "decoder_ffn_dim"),
)
EMBEDDINGS = "model.shared.weight"
# Some programs store these, others do not; they always equal EMBEDDINGS.
TIED_TO_EMBEDDINGS = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
_TIED = frozenset(TIED_TO_EMBEDDINGS)
_BIAS = "final_logits_bias"
_PREFIX = "model."
_INSIDE_PREFIX = ("shared.", "encoder.", "decoder.")  # a file that was saved from the bare model lacks the prefix
# Tensors that a summarizer does not need: fairseq's format versions, the heads of classifiers and question answering,
# and a bias that this model does not have (final_logits_bias is another tensor).
_NOT_NEEDED = (
    *("model.encoder.version", "model.decoder.version"),
    *("classification_head.", "classification_heads.", "qa_outputs."),
    "lm_head.bias",
)
_FLOATING_POINT = (torch.float32, torch.float16, torch.bfloat16, torch.float64)  # that weights are kept in

_log = logging.getLogger(__name__)


def match_state_dict(
    stored: dict[str, Tensor],
    expected: dict[str, Tensor],
    source: str,
    more_positions: bool = False,
    allow_non_finite: bool = False,
) -> dict[str, Tensor]:
    """Convert the tensors of a file to the state dict of a model, in float32.

    Names, types and shapes are checked before anything is computed.

    Args:
        stored: tensors by the names that the file gives them.
        expected: the model's state dict; only its names and shapes count.
        source: name of the file, for messages.
        more_positions: repeat the positions of the file if the model has more.
        allow_non_finite: take weights that are NaN or infinite.

    Raises:
        InputError: tensors are missing, unexpected, of another shape, not floating-point or not finite, or tables
            differ that BART ties together.
    """
    needed = _needed(stored, source)
    names = {name for _, name, _ in needed}
    _refuse(source, "lacks", expected.keys() - _TIED - {_BIAS} - {_kept_as(name) for name in names})
    _refuse(source, "has tensors that this model does not have:", names - expected.keys() - _TIED)
    for stored_name, _, tensor in needed:
        check_floating_point(tensor, stored_name, source)

    # Of tensors that must be equal the first one is kept: EMBEDDINGS itself if it is there.
    kept: dict[str, Tensor] = {}
    for _, name, tensor in needed:
        kept.setdefault(_kept_as(name), tensor)
    tensors = repeat_positions(kept, expected) if more_positions else kept
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{source}: {name} is {tuple(tensor.shape)}, the configuration says {tuple(expected[name].shape)};"
                " give the configuration that belongs to these weights"
            )

    # Copied, because the tensors of a .ckpt are mapped to its file, and the weights must outlive it.
    weights = {name: tensor.to(torch.float32, copy=True) for name, tensor in tensors.items()}
    weights.setdefault(_BIAS, torch.zeros(expected[_BIAS].shape))
    if not allow_non_finite:
        _refuse_non_finite(weights, source)
    for stored_name, name, tensor in needed:
        if not _same(tensor, kept[_kept_as(name)]):
            if name in _TIED:
                problem = f"{name} differs from {EMBEDDINGS}; BART ties them, so this is another model"
            else:
                problem = f"{stored_name} is there with and without {_PREFIX} before it; the two differ"
            raise InputError(f"{source}: {problem}")
    return {name: weights[_kept_as(name)] for name in expected}


def _needed(stored: dict[str, Tensor], source: str) -> list[tuple[str, str, Tensor]]:
    """List the tensors that are needed; a warning lists the others.

    Returns:
        The name in the file, the name in a model and the tensor of each; EMBEDDINGS come before what is tied to them.
    """
    needed, not_needed = [], []
    for stored_name, tensor in stored.items():
        name = _PREFIX + stored_name if stored_name.startswith(_INSIDE_PREFIX) else stored_name
        if name.startswith(_NOT_NEEDED):
            not_needed.append(stored_name)
        else:
            needed.append((stored_name, name, tensor))
    if not_needed:
        _log.warning("%s: left out, as a summarizer does not need it: %s", source, _some_of(not_needed))
    return sorted(needed, key=lambda entry: entry[1] in _TIED)


def _kept_as(name: str) -> str:
    """Return the name under which a tensor is kept."""
    return EMBEDDINGS if name in _TIED else name


def check_floating_point(tensor: Tensor, name: str, source: str) -> None:
    """Raise InputError if a tensor holds anything but floating-point numbers that weights are kept in."""
    if tensor.dtype not in _FLOATING_POINT:
        allowed = ", ".join(map(_name_of_type, _FLOATING_POINT))
        raise InputError(f"{source}: {name} is {_name_of_type(tensor.dtype)}; weights are {allowed}: give another file")


def _name_of_type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _refuse_non_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raise InputError if weights are NaN or infinite. Reads each once, and makes no copy."""
    names = {name for name, tensor in weights.items() if tensor.numel() > 0 and not _is_finite(tensor)}
    if names:
        raise InputError(
            f"{source}: has weights that are NaN or infinite in {_some_of(names)}; give another file"
            " (--allow_non_finite takes it as it is)"
        )


def _is_finite(tensor: Tensor) -> bool:
    """Return whether all values are finite: the least and the greatest are, and they are NaN if any value is."""
    return all(math.isfinite(bound.item()) for bound in torch.aminmax(tensor))


def _same(tensor: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal; NaN equals itself if its bits do."""
    if tensor is other:
        return True
    if tensor.shape != other.shape:
        return False
    if tensor.dtype != other.dtype:
        return torch.equal(tensor.to(torch.float32), other.to(torch.float32))
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return torch.equal(tensor, other) or torch.equal(tensor.view(bits), other.view(bits))


def _refuse(source: str, complaint: str, names: set[str]) -> None:
    """Raise InputError if there are any names."""
    if names:
        raise InputError(f"{source}: {complaint} {_some_of(names)}")


def _some_of(names: set[str] | list[str]) -> str:
    """List up to five names, and say how many more there are."""
    shown = sorted(names)[:5]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}"
