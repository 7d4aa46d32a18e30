"""The names that the tensors of a BART have in files, and how they become a model's own.

Files differ by who wrote them, and when; docs/published_checkpoints.md lists the forms and where each is known from.
"""

import logging

import torch
from torch import Tensor

from bart.errors import InputError

EMBEDDINGS = "model.shared.weight"
# Stored by some writers, left out by others; either way the same numbers as EMBEDDINGS.
TIED_TO_EMBEDDINGS = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight")
_BIAS = "final_logits_bias"
_PREFIX = "model."
_INSIDE_PREFIX = ("shared.", "encoder.", "decoder.")  # a file that was saved from the bare model lacks the prefix
# What a summarizer computes nothing with: fairseq's format counters, the heads of classifiers and question answering,
# and a bias that this model does not have (final_logits_bias is another tensor).
_NOT_NEEDED = (
    *("model.encoder.version", "model.decoder.version"),
    *("classification_head.", "classification_heads.", "qa_outputs."),
    "lm_head.bias",
)

_log = logging.getLogger(__name__)


def fit(stored: dict[str, Tensor], expected: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Make the state dict of a model, in float32, from the tensors of a file.

    Args:
        stored: tensors by the names that the file gives them.
        expected: the model's state dict; only its names and shapes count.
        source: whose tensors these are, for messages.

    Raises:
        InputError: tensors are missing, surplus or of another shape, or tables differ that BART ties together.
    """
    tensors = _untie(_needed(stored, source), source)
    tensors.setdefault(_BIAS, torch.zeros(expected[_BIAS].shape))
    wanted = {name: tensor for name, tensor in expected.items() if name not in TIED_TO_EMBEDDINGS}
    _refuse(source, "lacks", wanted.keys() - tensors.keys())
    _refuse(source, "has tensors that this model has not:", tensors.keys() - wanted.keys())
    for name, tensor in wanted.items():
        if tensors[name].shape != tensor.shape:
            raise InputError(
                f"{source}: {name} is {tuple(tensors[name].shape)}, the configuration says {tuple(tensor.shape)};"
                " give the configuration that belongs to these weights"
            )
    # Copied, because a .ckpt is mapped: the weights must outlive the file.
    weights = {name: tensors[name].to(torch.float32, copy=True) for name in wanted}
    return {name: weights.get(name, weights[EMBEDDINGS]) for name in expected}


def _needed(stored: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Give the tensors this project's names, without those that are not needed: one line says which these are."""
    tensors: dict[str, Tensor] = {}
    not_needed = []
    for stored_name, tensor in stored.items():
        name = _PREFIX + stored_name if stored_name.startswith(_INSIDE_PREFIX) else stored_name
        if name.startswith(_NOT_NEEDED):
            not_needed.append(stored_name)
        elif name in tensors and not torch.equal(tensors[name], tensor):
            raise InputError(f"{source}: {stored_name} is there with and without {_PREFIX} before it, and they differ")
        else:
            tensors[name] = tensor
    if not_needed:
        _log.warning("%s: left out, as a summarizer does not need it: %s", source, _some_of(not_needed))
    return tensors


def _untie(tensors: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Keep one table of embeddings, under its first name, whichever of its names the file has."""
    names = [name for name in (EMBEDDINGS, *TIED_TO_EMBEDDINGS) if name in tensors]
    tables = {name: tensors.pop(name) for name in names}
    for name in names[1:]:
        if not torch.equal(tables[name], tables[names[0]]):
            raise InputError(f"{source}: {name} differs from {EMBEDDINGS}; BART ties them, so this is another model")
    if names:
        tensors[EMBEDDINGS] = tables[names[0]]
    return tensors


def _refuse(source: str, complaint: str, names: set[str]) -> None:
    if names:
        raise InputError(f"{source}: {complaint} {_some_of(names)}")


def _some_of(names: set[str] | list[str]) -> str:
    shown = sorted(names)[:5]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"{', '.join(shown)}{more}"
