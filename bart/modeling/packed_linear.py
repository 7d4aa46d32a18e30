"""Linear layers for inference on a CPU, their weights in the layout that the processor's fastest kernels read.

The few rows of a decoding step wait for the weights to be brought into that layout again at every call: 16 rows times
BART's vocabulary take 25 ms on two cores as ``F.linear``, 7 ms from packed weights, and 2.4 ms in int8. They are what
torch.compile uses; where this torch has them not, a layer stays as it is.
"""

import warnings
from typing import Literal

import torch
from torch import Tensor, nn

Quantization = Literal["int8"]

_ROWS = 16  # of the input that the layout is chosen for; any other number works
_MOST_INT8_ROWS = 512  # that are multiplied at once: FBGEMM's product slows down beyond


class PackedLinear(nn.Module):
    """x W^T + b by oneDNN, in float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight: (out, in); bias: (out,), both of one type."""
        super().__init__()
        self._bias = bias.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS)

    @staticmethod
    def suits(weight: Tensor) -> bool:
        """Whether this torch, on this processor, has the kernel for weights of this type."""
        if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return False
        if not all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")):
            return False
        supported = {torch.float32: True, torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported()}
        return bool(supported.get(weight.dtype, False))

    def forward(self, states: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, self._packed, self._bias, "none", [], "")
        return product


class Int8Linear(nn.Module):
    """x W^T + b with both rounded to 8 bits: the weights once, by output, the inputs at every call, by their range."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """weight: (out, in); bias: (out,)."""
        super().__init__()
        weight, bias = weight.detach().float(), bias.detach().float()
        scales = weight.abs().amax(1).clamp(min=1e-12).double() / 127
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to move its quantized tensors elsewhere
            rounded = torch.quantize_per_channel(weight, scales, torch.zeros_like(scales).long(), 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, bias)
        # Without VNNI, sums of two products of 8 bits do not fit into 16, so the inputs get 7.
        self._reduce_range = not torch.cpu._is_vnni_supported()

    def forward(self, states: Tensor) -> Tensor:
        """(..., in) -> (..., out), float32."""
        if states.numel() <= _MOST_INT8_ROWS * states.size(-1):
            return self._multiply(states)
        parts = [self._multiply(part) for part in torch.split(states.flatten(0, -2), _MOST_INT8_ROWS)]
        return torch.cat(parts).view(*states.shape[:-1], -1)

    def _multiply(self, rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._reduce_range)
        return product


def packed(weight: Tensor, bias: Tensor, quantization: Quantization | None) -> nn.Module | None:
    """A layer that computes x W^T + b faster than ``F.linear``; None where there is none."""
    if quantization == "int8":
        return Int8Linear(weight, bias)
    return PackedLinear(weight, bias) if PackedLinear.suits(weight) else None


def pack_linears(module: nn.Module, quantization: Quantization | None) -> None:
    """Replace every ``nn.Linear`` within by its packed form, where it has one."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            replacement = packed(child.weight, child.bias, quantization)
            if replacement is not None:
                setattr(module, name, replacement)
        else:
            pack_linears(child, quantization)
