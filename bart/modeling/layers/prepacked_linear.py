"""Linear layers for inference on a CPU, with weights in the layout that the processor's fastest kernels read.

``F.linear`` converts the weights to that layout at every call, which dominates if there are few rows, as in a decoding
step: 16 rows times BART's vocabulary take 25 ms on two cores with ``F.linear``, 7 ms with prepacked weights, and 2.4 ms
in int8. torch.compile uses the same kernels; a layer for which this torch has none stays as it is.
"""

import warnings
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Quantization = Literal["int8"]

_ROWS = 16  # of the input for which the layout is chosen; any other number works too
_FEW_INT8_ROWS = 128  # up to this number FBGEMM is faster than oneDNN
_MOST_INT8_ROWS = 512  # for one call of FBGEMM, which slows down beyond


class PrepackedLinear(nn.Module):
    """Computes x W^T + b, or its GELU, by oneDNN, in float32 or bfloat16."""

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        """Pack ``weight`` (out, in), which has the type of ``bias`` (out,); ``gelu``: apply GELU to the result."""
        super().__init__()
        self._then = "gelu" if gelu else "none"
        self._bias = bias.detach()
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _ROWS)

    @staticmethod
    def suits(weight: Tensor) -> bool:
        """Return whether this torch has a kernel for this processor and the type of ``weight``."""
        if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return False
        if not all(hasattr(torch.ops.mkldnn, name) for name in ("_reorder_linear_weight", "_linear_pointwise")):
            return False
        supported = {torch.float32: True, torch.bfloat16: torch.ops.mkldnn._is_mkldnn_bf16_supported()}
        return bool(supported.get(weight.dtype, False))

    def forward(self, states: Tensor) -> Tensor:
        """Apply the layer: (..., in) to (..., out)."""
        product: Tensor = torch.ops.mkldnn._linear_pointwise(states, self._packed, self._bias, self._then, [], "none")
        return product


class Int8Linear(nn.Module):
    """Computes x W^T + b, or its GELU, with x and W rounded to 8 bits.

    Weights are rounded once, with a scale per output; inputs at every call, with a scale from their range. FBGEMM
    multiplies few rows. oneDNN multiplies many rows, for which it is a fourth faster, if the processor has VNNI: only
    then is it exact.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False) -> None:
        """Round and pack ``weight`` (out, in), with ``bias`` (out,); ``gelu``: apply GELU to the result."""
        super().__init__()
        self._gelu = gelu

        # Round the weights to 8 bits, symmetrically, and pack them for FBGEMM.
        weight, bias = weight.detach().float(), bias.detach().float()
        scales = weight.abs().amax(1).clamp(min=1e-12) / 127
        zeros = torch.zeros_like(scales, dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces to move quantized tensors to another package
            rounded = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(rounded, bias)
        # Without VNNI, the sum of two products of 8 bits does not fit into 16 bits, so inputs have 7.
        self._reduce_range = not torch.cpu._is_vnni_supported()

        # Pack them for oneDNN too, if it has the kernel and is exact.
        self._many: tuple[Tensor, ...] | None = None
        has_kernel = all(hasattr(torch.ops.onednn, name) for name in ("qlinear_prepack", "qlinear_pointwise"))
        if has_kernel and not self._reduce_range:
            packed = torch.ops.onednn.qlinear_prepack(rounded.int_repr(), [_MOST_INT8_ROWS, weight.size(1)])
            self._many = packed, scales, zeros, bias

    def forward(self, states: Tensor) -> Tensor:
        """Apply the layer: (..., in) to (..., out), float32."""
        rows = states.flatten(0, -2)
        if len(rows) > _FEW_INT8_ROWS and self._many is not None:
            product = self._multiply_many(rows, *self._many)
        else:
            parts = [self._multiply(part) for part in torch.split(rows, _MOST_INT8_ROWS)]
            product = parts[0] if len(parts) == 1 else torch.cat(parts)
        return product.view(*states.shape[:-1], -1)

    def _multiply(self, rows: Tensor) -> Tensor:
        """Multiply few rows (n, in) by FBGEMM: (n, out)."""
        product: Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._reduce_range)
        return F.gelu(product) if self._gelu else product

    def _multiply_many(self, rows: Tensor, packed: Tensor, scales: Tensor, zeros: Tensor, bias: Tensor) -> Tensor:
        """Multiply many rows (n, in) by oneDNN: (n, out)."""
        low, high = (float(bound) for bound in torch.aminmax(rows))
        low, high = min(low, 0.0), max(high, 0.0)  # 0 is one of the 256 levels, exactly
        step = (high - low) / 255 or 1.0
        zero = round(-low / step)
        quantized = torch.quantize_per_tensor(rows, step, zero, torch.quint8)
        rounded = torch.empty(0, dtype=torch.uint8)  # the same numbers as int_repr(), without its slow copy
        rounded.set_(quantized.untyped_storage(), 0, quantized.shape, quantized.stride())
        then = "gelu" if self._gelu else "none"
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            rounded, step, zero, packed, scales, zeros, bias, 1.0, 0, torch.float32, then, [], "none"
        )
        return product


def prepack_linear(
    weight: Tensor, bias: Tensor, quantization: Quantization | None, gelu: bool = False
) -> nn.Module | None:
    """Make a layer that computes x W^T + b, or its GELU, faster than ``F.linear``.

    Args:
        weight: (out, in).
        bias: (out,).
        quantization: "int8" to compute with 8 bits; None: in the type of the weight.
        gelu: apply GELU to the result.

    Returns:
        the layer, or None if this torch has no such kernel
    """
    if quantization == "int8":
        return Int8Linear(weight, bias, gelu)
    return PrepackedLinear(weight, bias, gelu) if PrepackedLinear.suits(weight) else None


def prepack_linears(module: nn.Module, quantization: Quantization | None) -> None:
    """Replace every ``nn.Linear`` within ``module`` by a prepacked one, if there is one; ``fc1`` includes its GELU."""
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
    """Take the place of an activation that the linear layer before it includes."""
    return states
