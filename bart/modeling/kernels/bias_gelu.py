"""Exact GELU of a product and its bias, with one kernel forward and one backward.

The backward kernel reads the product again, with the gradient of the activation: it replaces this gradient by that of
the product, writes the activation again, for the gradient of the next linear layer's weight, and sums the gradient of
the bias.

Shapes: F feed-forward size.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from bart.modeling.kernels.programs import persistent_programs

# A thread handles 16 bytes of each of 2 rows: of 16 bits, 4 warps take 2 rows of 1,024 columns.
_ROWS = 2
_COLUMNS = 1024
_WARPS = 4
_PER_MULTIPROCESSOR = 6  # programs in the backward pass, whose threads need 80 registers; 48 kB of loads in flight


def bias_gelu(product: Tensor, bias: Tensor, clamp: bool = False) -> Tensor:
    """Compute gelu(product + bias).

    Args:
        product: (..., F): the product of a linear layer without its bias.
        bias: (F,), of that layer.
        clamp: whether the sum is clamped to the range of float16.

    Returns:
        a tensor of the shape and type of ``product``
    """
    product, size = product.contiguous(), product.size(-1)
    activated, rows = torch.empty_like(product), product.numel() // size
    columns = min(_COLUMNS, triton.next_power_of_2(size))
    if rows:
        _bias_gelu[(triton.cdiv(rows, _ROWS), triton.cdiv(size, columns))](
            product, bias, activated, rows, SIZE=size, ROWS=_ROWS, COLUMNS=columns, CLAMP=clamp, num_warps=_WARPS
        )  # fmt: skip
    return activated


def bias_gelu_backward(gradient: Tensor, product: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of ``bias_gelu``, and its result again.

    Args:
        gradient: (..., F), of the result; it is overwritten.
        product: (..., F).
        bias: (F,).

    Returns:
        the gradient of ``product`` (..., F), gelu(product + bias) (..., F), and the gradient of the bias, float32 (F,)
    """
    gradient, product, size = gradient.contiguous(), product.contiguous(), product.size(-1)
    activated, rows = torch.empty_like(product), product.numel() // size
    # With fewer than 64 columns two threads would handle the same element, and one could read a gradient that the
    # other has overwritten.
    columns = max(64, min(_COLUMNS, triton.next_power_of_2(size)))
    blocks = triton.cdiv(size, columns)
    programs = persistent_programs(product.device, max(1, _PER_MULTIPROCESSOR // blocks), triton.cdiv(rows, _ROWS))
    sums = torch.empty(programs, size, dtype=torch.float32, device=product.device)
    _bias_gelu_backward[(programs, blocks)](
        gradient, product, bias, activated, sums, rows, SIZE=size, ROWS=_ROWS, COLUMNS=columns, num_warps=_WARPS
    )  # fmt: skip
    return gradient, activated, sums.sum(0)


@triton.jit(do_not_specialize=["rows"])
def _bias_gelu(
    product, bias, activated, rows,
    SIZE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    is_inside = (row < rows) & (column < SIZE)
    states = tl.load(product + row * SIZE + column, mask=is_inside, other=0.0).to(tl.float32)
    states += tl.load(bias + column, mask=column < SIZE, other=0.0).to(tl.float32)
    if CLAMP:
        states = tl.where(states > 65504.0, 65504.0, tl.where(states < -65504.0, -65504.0, states))
    share, _ = _share_below(states)
    tl.store(activated + row * SIZE + column, (states * share).to(activated.dtype.element_ty), mask=is_inside)


@triton.jit(do_not_specialize=["rows"])
def _bias_gelu_backward(
    gradient, product, bias, activated, sums, rows,
    SIZE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    program, programs = tl.program_id(0), tl.num_programs(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    is_column = column < SIZE
    bias_sum = tl.zeros([COLUMNS], tl.float32)
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
    The function erf would take twice as many instructions, more than there is time for beside the memory.
    """
    power = tl.exp(-0.5 * states * states)
    t = 1.0 / (1.0 + 0.23164189 * tl.abs(states))  # 0.3275911 / sqrt(2)
    polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    tail = 0.5 * polynomial * power
    return tl.where(states > 0, 1.0 - tail, tail), power
