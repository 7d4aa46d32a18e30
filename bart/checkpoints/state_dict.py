"""Convert the tensors of a file, whatever names it has for them, to a model's state dict.

Names depend on the program that wrote the file; docs/published_checkpoints.md lists the forms and their sources.
"""

import logging

import torch
from torch import Tensor

from bart.checkpoints.more_positions import repeat_positions
from bart.errors import InputError

EMBEDDINGS = "model.shared.weight"
# Some programs store these, others do not; they always equal EMBEDDINGS.
TIED_TO_EMBEDDINGS = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
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

_log = logging.getLogger(__name__)


def match_state_dict(
    stored: dict[str, Tensor], expected: dict[str, Tensor], source: str, more_positions: bool = False
) -> dict[str, Tensor]:
    """Convert the tensors of a file to the state dict of a model, in float32.

    Args:
        stored: tensors by the names that the file gives them.
        expected: the model's state dict; only its names and shapes count.
        source: name of the file, for messages.
        more_positions: repeat the positions of the file if the model has more.

    Raises:
        InputError: tensors are missing, unexpected or of another shape, or tables differ that BART ties together.
    """
    tensors = _untie(_needed(stored, source), source)
    tensors.setdefault(_BIAS, torch.zeros(expected[_BIAS].shape))
    wanted = {name: tensor for name, tensor in expected.items() if name not in TIED_TO_EMBEDDINGS}
    _refuse(source, "lacks", wanted.keys() - tensors.keys())
    _refuse(source, "has tensors that this model does not have:", tensors.keys() - wanted.keys())
    if more_positions:
        tensors = repeat_positions(tensors, expected)
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise InputError(
                f"{source}: {name} is {tuple(tensors[name].shape)}, the configuration says {tuple(tensor.shape)};"
                " give the configuration that belongs to these weights"
            )
    # Copied, because the tensors of a .ckpt are mapped to its file, and the weights must outlive it.
    weights = {name: tensors[name].to(torch.float32, copy=True) for name in wanted}
    return {name: weights.get(name, weights[EMBEDDINGS]) for name in expected}


def _needed(stored: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Rename the tensors, and drop those that are not needed; a warning lists these."""
    tensors: dict[str, Tensor] = {}
    not_needed = []
    for stored_name, tensor in stored.items():
        name = _PREFIX + stored_name if stored_name.startswith(_INSIDE_PREFIX) else stored_name
        if name.startswith(_NOT_NEEDED):
            not_needed.append(stored_name)
        elif name in tensors and not torch.equal(tensors[name], tensor):
            raise InputError(f"{source}: {stored_name} is there with and without {_PREFIX} before it; the two differ")
        else:
            tensors[name] = tensor
    if not_needed:
        _log.warning("%s: left out, as a summarizer does not need it: %s", source, _some_of(not_needed))
    return tensors


def _untie(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Keep one table of embeddings, under the name EMBEDDINGS, whichever of its names the file has."""
    names = [name for name in (EMBEDDINGS, *TIED_TO_EMBEDDINGS) if name in tensors]
    tables = {name: tensors.pop(name) for name in names}
    for name in names[1:]:
        if not torch.equal(tables[name], tables[names[0]]):
            raise InputError(f"{source}: {name} differs from {EMBEDDINGS}; BART ties them, so this is another model")
    if names:
        tensors[EMBEDDINGS] = tables[names[0]]
    return tensors


def _refuse(source: str, complaint: str, names: set[str]) -> None:
    """Raise InputError if there are any names."""
    if names:
        raise InputError(f"{source}: {complaint} {_some_of(names)}")


def _some_of(names: set[str] | list[str]) -> str:
    """List up to five names, and say how many more there are."""
    shown = sorted(names)[:5]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}"
