"""The output layer with as many rows as suit the tensor cores of a GPU.

BART's 50,265 tokens leave the rows of logits and of their gradients at odd addresses in 16 bits. On an H200 (commit
4babf91) the products that read or write them then took five times as long: 28.6 ms of the 299 ms of a search.
"""

import torch.nn.functional as F
from torch import Tensor, nn

_MULTIPLE = 64  # rows
_DEVICES = {"cuda"}


def align_vocabulary(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Append rows of zeros to the output layer, up to a multiple of 64, if it is on a GPU.

    Args:
        weight: (V, D).
        bias: (V).

    Returns:
        (V + p, D) and (V + p); the logits of a token are at its id as before, and p more follow, which mean nothing.
    """
    missing = -len(weight) % _MULTIPLE
    if missing == 0 or weight.device.type not in _DEVICES:
        return weight, bias
    return F.pad(weight, (0, 0, 0, missing)), F.pad(bias, (0, missing))


class AlignedOutput(nn.Module):
    """An output layer for inference on a GPU, with an aligned copy of the weight."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """Copy ``weight`` (V, D) and ``bias`` (V)."""
        super().__init__()
        self._vocabulary = len(weight)
        self._weight, self._bias = align_vocabulary(weight.detach(), bias.detach())

    @staticmethod
    def suits(weight: Tensor) -> bool:
        """Return whether ``weight`` (V, D) is on a GPU and its rows are not aligned."""
        return weight.device.type in _DEVICES and len(weight) % _MULTIPLE != 0

    def forward(self, states: Tensor) -> Tensor:
        """Compute the logits of states (..., D): (..., V)."""
        return F.linear(states, self._weight, self._bias)[..., : self._vocabulary]
