"""A feed-forward network's bias, exact GELU and second product, with one kernel forward and one backward.

The forward kernel reads the product of the first linear layer and writes its activation. The backward kernel reads that
product again, with the gradient of the activation: it replaces this gradient by that of the product, writes the
activation again, for the gradient of the second weight, and sums the gradient of the bias.

Shapes: N rows, F feed-forward size, D model, P programs that share the rows.
"""

from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from bart.modeling.kernels.programs import persistent_programs

# A thread handles 16 bytes of each of 2 rows: of 16 bits, 4 warps take 2 rows of 1,024 columns.
_ROWS = 2
_COLUMNS = 1024
_WARPS = 4
_PER_MULTIPROCESSOR = 6  # programs in the backward pass, whose threads need 80 registers; 48 kB of loads in flight


def bias_gelu_linear(product: Tensor, bias: Tensor | None, weight: Tensor) -> Tensor:
    """Compute gelu(product + bias) weight^T, of which only ``product`` is kept for the backward pass.

    Args:
        product: (..., F): the product of a linear layer without its bias.
        bias: (F,), of that layer; None: it has none.
        weight: (D, F), cast to the type of ``product``.

    Returns:
        (..., D), in the type of ``product``. In float16 without gradients, the sum is clamped to float16's range
    """
    output: Tensor = _BiasGeluLinear.apply(product, bias, weight)
    return output


class _BiasGeluLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, product: Tensor, bias: Tensor | None, weight: Tensor) -> Tensor:
        product = product.contiguous()
        ctx.save_for_backward(product, bias, weight)
        clamp = product.dtype == torch.float16 and not any(ctx.needs_input_grad)
        with torch.autocast(product.device.type, enabled=False):
            return F.linear(_activate(product, bias, clamp), weight.to(product.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        product, bias, weight = ctx.saved_tensors
        product_gradient, activated, sums = _activate_backward(gradient @ weight.to(product.dtype), product, bias)
        weight_gradient = None
        if ctx.needs_input_grad[2]:
            weight_gradient = (gradient.flatten(0, -2).t() @ activated.flatten(0, -2)).to(weight.dtype)
        return product_gradient, None if bias is None else sums.sum(0).to(bias.dtype), weight_gradient


def _activate(product: Tensor, bias: Tensor | None, clamp: bool) -> Tensor:
    """Compute gelu(product + bias)."""
    activated, size = torch.empty_like(product), product.size(-1)
    rows = product.numel() // size
    columns = min(_COLUMNS, triton.next_power_of_2(size))
    if rows:
        _bias_gelu[(triton.cdiv(rows, _ROWS), triton.cdiv(size, columns))](
            product, bias, activated, rows,
            SIZE=size, ROWS=_ROWS, COLUMNS=columns, HAS_BIAS=bias is not None, CLAMP=clamp, num_warps=_WARPS,
        )  # fmt: skip
    return activated


def _activate_backward(gradient: Tensor, product: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient of ``product``, in place of ``gradient``; gelu(product + bias); the former's sums (P, F)."""
    gradient, activated, size = gradient.contiguous(), torch.empty_like(product), product.size(-1)
    rows = product.numel() // size
    columns = min(_COLUMNS, triton.next_power_of_2(size))
    blocks = triton.cdiv(size, columns)
    programs = persistent_programs(product.device, max(1, _PER_MULTIPROCESSOR // blocks), triton.cdiv(rows, _ROWS))
    sums = torch.empty(programs, size, dtype=torch.float32, device=product.device)
    _bias_gelu_backward[(programs, blocks)](
        gradient, product, bias, activated, sums, rows,
        SIZE=size, ROWS=_ROWS, COLUMNS=columns, HAS_BIAS=bias is not None, num_warps=_WARPS,
    )  # fmt: skip
    return gradient, activated, sums


@triton.jit(do_not_specialize=["rows"])
def _bias_gelu(
    product, bias, activated, rows,
    SIZE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HAS_BIAS: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    is_inside = (row < rows) & (column < SIZE)
    states = tl.load(product + row * SIZE + column, mask=is_inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        states += tl.load(bias + column, mask=column < SIZE, other=0.0).to(tl.float32)
    if CLAMP:
        states = tl.where(states > 65504.0, 65504.0, tl.where(states < -65504.0, -65504.0, states))
    share, _ = _share_below(states)
    tl.store(activated + row * SIZE + column, (states * share).to(activated.dtype.element_ty), mask=is_inside)


@triton.jit(do_not_specialize=["rows"])
def _bias_gelu_backward(
    gradient, product, bias, activated, sums, rows,
    SIZE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = column < SIZE
    bias_sum = tl.zeros([COLUMNS], tl.float32)
    shift = tl.zeros([COLUMNS], tl.float32)
    if HAS_BIAS:
        shift = tl.load(bias + column, mask=is_column, other=0.0).to(tl.float32)
    for start in range(program * ROWS, rows, programs * ROWS):
        row = tl.cast(start, tl.int64) + tl.arange(0, ROWS)[:, None]
        index, is_inside = row * SIZE + column[None, :], (row < rows) & is_column[None, :]
        states = tl.load(product + index, mask=is_inside, other=0.0).to(tl.float32) + shift[None, :]
        given = tl.load(gradient + index, mask=is_inside, other=0.0).to(tl.float32)
        share, power = _share_below(states)
        given *= share + states * power * 0.3989422804014327  # 1 / sqrt(2 pi): the density at states
        tl.store(gradient + index, given.to(gradient.dtype.element_ty), mask=is_inside)
        tl.store(activated + index, (states * share).to(activated.dtype.element_ty), mask=is_inside)
        bias_sum += tl.sum(given, 0)
    tl.store(sums + program * SIZE + column, bias_sum, mask=is_column)


@triton.jit
def _share_below(states):
    """Return the share of a normal distribution below ``states``, and exp(-states^2 / 2).

    GELU is states times the share, whose error here is below 1e-7 (Abramowitz & Stegun 1964, 7.1.26), that of float32.
    The function erf would take twice as many instructions, and these would take longer than the memory.
    """
    power = tl.exp(-0.5 * states * states)
    t = 1.0 / (1.0 + 0.23164189 * tl.abs(states))  # 0.3275911 / sqrt(2)
    polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = 0.5 * polynomial * power
    return tl.where(states > 0, 1.0 - tail, tail), power
