"""Linear layers for inference on a CPU, their weights in the layout that the processor's fastest kernels read.

The few rows of a decoding step wait for the weights to be brought into that layout again at every call: 16 rows times
BART's vocabulary take 25 ms on two cores as ``F.linear``, 7 ms from prepacked weights, and 2.4 ms in int8. They are
what torch.compile uses; a layer for which this torch has none stays as it is.
"""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Quantization = Literal["int8"]

_ROWS = 16  # of the input that the layout is chosen for; any other number works
_FEW_INT8_ROWS = 128  # up to here FBGEMM is faster
_MOST_INT8_ROWS = 512  # that FBGEMM multiplies at once: it slows down beyond


class PrepackedLinear(nn.Module):
    """x W^T + b, or the GELU of it, by oneDNN, in float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        """weight: (out, in); bias: (out,), both of one type."""
        super().__init__()
        self._then = "gelu" if gelu else "none"
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
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, self._packed, self._bias, self._then, [], "none")
        return product


class Int8Linear(nn.Module):
    """x W^T + b, or the GELU of it, with both rounded to 8 bits.

    The weights are rounded once, by output, the inputs at every call, by their range. The product is FBGEMM's, and for
    many rows oneDNN's, which is a fourth faster there, where it is exact: where the processor has VNNI.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        """weight: (out, in); bias: (out,)."""
        super().__init__()
        self._gelu = gelu
        weight, bias = weight.detach().float(), bias.detach().float()
        scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        zeros = torch.zeros_like(scales, dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to move its quantized tensors elsewhere
            rounded = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, bias)
        # Without VNNI, sums of two products of 8 bits do not fit into 16, so the inputs get 7.
        self._reduce_range = not torch.cpu._is_vnni_supported()
        self._many: tuple[Tensor, ...] | None = None
        has_kernel = all(hasattr(torch.ops.onednn, name) for name in ("qlinear_prepack", "qlinear_pointwise"))
        if has_kernel and not self._reduce_range:
            packed = torch.ops.onednn.qlinear_prepack(rounded.int_repr(), [_MOST_INT8_ROWS, weight.size(1)])
            self._many = packed, scales, zeros, bias

    def forward(self, states: Tensor) -> Tensor:
        """(..., in) -> (..., out), float32."""
        rows = states.flatten(0, -2)
        if len(rows) > _FEW_INT8_ROWS and self._many is not None:
            product = self._multiply_many(rows, *self._many)
        else:
            parts = [self._multiply(part) for part in torch.split(rows, _MOST_INT8_ROWS)]
            product = parts[0] if len(parts) == 1 else torch.cat(parts)
        return product.view(*states.shape[:-1], -1)

    def _multiply(self, rows: Tensor) -> Tensor:
        product: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._reduce_range)
        return F.gelu(product) if self._gelu else product

    def _multiply_many(self, rows: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor, bias: Tensor) -> Tensor:
        low, high = (float(bound) for bound in torch.aminmax(rows))
        low, high = min(low, 0.0), max(high, 0.0)  # 0 is one of the 256 levels, exactly
        step = (high - low) / 255 or 1.0
        zero = round(-low / step)
        quantized = torch.quantize_per_tensor(rows, step, zero, torch.quint8)
        rounded = torch.empty(0, dtype=torch.uint8)  # what int_repr gives, without its slow copy
        rounded.set_(quantized.untyped_storage(), 0, quantized.shape, quantized.stride())
        then = "gelu" if self._gelu else "none"
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, step, zero, packed, scales, zeros, bias, 1.0, 0, torch.float32, then, [], "none"
        )
        return product


def prepack_linear(
    weight: Tensor, bias: Tensor, quantization: Quantization | None, gelu: bool = False
) -> nn.Module | None:
    """A layer that computes x W^T + b, or the GELU of it, faster than ``F.linear``; None if this torch has none."""
    if quantization == "int8":
        return Int8Linear(weight, bias, gelu)
    return PrepackedLinear(weight, bias, gelu) if PrepackedLinear.suits(weight) else None


def prepack_linears(module: nn.Module, quantization: Quantization | None) -> None:
    """Replace every ``nn.Linear`` within by its prepacked form, if it has one, the ``fc1`` of a layer with its GELU."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            gelu = name == "fc1" and module.activation is F.gelu
            replacement = prepack_linear(child.weight, child.bias, quantization, gelu)
            if replacement is not None:
                setattr(module, name, replacement)
                if gelu:
                    module.activation = _unchanged  # type: ignore[assignment]
        else:
            prepack_linears(child, quantization)


def _unchanged(states: Tensor) -> Tensor:
    return states
