"""Low-rank adapters (LoRA; Hu et al. 2021, https://arxiv.org/abs/2106.09685) among the tensors of a model.

A layer that had ``<layer>.weight`` W then has three tensors, named as peft names them: ``<layer>.base_layer.weight`` W,
``<layer>.lora_A.default.weight`` A (r, in) and ``<layer>.lora_B.default.weight`` B (out, r). It computes with
W + SCALING B A (section 4.1 there).
"""

from collections.abc import Iterable, Mapping

from torch import Tensor

from bart.checkpoints.state_dict import check_floating_point
from bart.errors import InputError

# alpha / r there, where it says that tuning alpha is about the same as tuning the learning rate: so it is fixed.
SCALING = 2
_BASE, _A, _B = ".base_layer.", ".lora_A.default.", ".lora_B.default."
_FILE_PREFIX = "base_model.model."  # in the files of peft


def merge_adapters(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Return the tensors of a plain model that computes the same; without adapters, those that were given.

    Args:
        tensors: a state dict.
        source: its name, for messages.

    Raises:
        InputError: a part of an adapter is missing, or does not fit.
    """
    merged = {}
    for name, tensor in tensors.items():
        if _A in name or _B in name:
            continue
        if _BASE in name and name.endswith("weight"):
            second, first = (tensors.get(name.replace(_BASE, part)) for part in (_B, _A))
            if second is None or first is None:
                raise InputError(f"{source}: {name} lacks its adapter; is it a checkpoint of this project?")
            for part in (tensor, second, first):
                check_floating_point(part, name, source)
            if not _fit(tensor, second, first):
                raise InputError(f"{source}: {name} and its adapter do not fit; is it a checkpoint of this project?")
            tensor = tensor + (second @ first) * SCALING
        merged[name.replace(_BASE, ".")] = tensor
    return merged


def _fit(base: Tensor, second: Tensor, first: Tensor) -> bool:
    """Return whether the shapes are (out, in), (out, r) and (r, in), and the types equal."""
    if not base.ndim == second.ndim == first.ndim == 2 or not base.dtype == second.dtype == first.dtype:
        return False
    return second.shape[1] == first.shape[0] and base.shape == (second.shape[0], first.shape[1])


def has_adapters(names: Iterable[str]) -> bool:
    """Return whether there are adapters among tensors of these names."""
    return any(_A in name for name in names)


def adapter_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the adapters alone, under the names that they have in peft's files."""
    adapters = {name: tensor for name, tensor in tensors.items() if _A in name or _B in name}
    return {f"{_FILE_PREFIX}{name.replace('.default.', '.')}": tensor for name, tensor in adapters.items()}
