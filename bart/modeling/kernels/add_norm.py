"""LayerNorm(residual + dropout(branch + bias)) as one kernel forward and one backward.

Torch needs four kernels for it, each of which reads and writes all states, and keeps the sum and the mask. Here the
backward pass computes the sum again and draws the mask again from its seed, so only the two inputs, the seed, and mean
and deviation of each row are kept. A row is handled as four quarters side by side, since Philox draws four words at
once: each thread then has the words of its own elements.

Shapes: N rows, D model, P programs of the backward pass.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from bart.modeling.kernels.programs import persistent_programs

_WORDS = 2**32  # values of a random word
_SEED_BIT = 2**62  # set in every seed, so that it needs 64 bits and its type does not vary
_WARPS_PER_MULTIPROCESSOR = 8  # in the backward pass, whose threads need 255 registers each; 48 kB of loads in flight
# Philox with 7 rounds passes BigCrush (Salmon et al. 2011); torch's 10 would be a third of the kernel's instructions.
_ROUNDS = tl.constexpr(7)


def add_norm(
    branch: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    weight: Tensor,
    shift: Tensor,
    dropout: float,
    eps: float,
    seed: int,
) -> Tensor:
    """Compute LayerNorm(residual + dropout(branch + bias)); sums are in float32.

    Args:
        branch: (..., D): the product of a linear layer without its bias.
        bias: (D,), of that layer; None: it has none.
        residual: of the shape of ``branch``.
        weight: (D,), of the norm.
        shift: (D,), the norm's bias.
        dropout: probability below 1 with which an element of the branch becomes 0.
        eps: of the norm.
        seed: of the dropout, below 2^63; the same one drops the same elements.

    Returns:
        a tensor of the shape and type of ``branch``. In float16 without gradients the sum is clamped to float16's range
    """
    given = (branch, bias, residual, weight, shift)
    wants_gradient = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in given)
    states: Tensor
    if wants_gradient:
        states = _AddNorm.apply(*given, dropout, eps, seed)
    else:
        clamp = branch.dtype == torch.float16 and not torch.is_grad_enabled()
        states, _ = _forward(*given, dropout, eps, seed, clamp=clamp)
    return states


class _AddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        branch: Tensor,
        bias: Tensor | None,
        residual: Tensor,
        weight: Tensor,
        shift: Tensor,
        dropout: float,
        eps: float,
        seed: int,
    ) -> Tensor:
        branch, residual = branch.contiguous(), residual.contiguous()
        states, statistics = _forward(branch, bias, residual, weight, shift, dropout, eps, seed, keep_statistics=True)
        ctx.save_for_backward(branch, bias, residual, weight, statistics)
        ctx.dropout, ctx.seed, ctx.shift_dtype = dropout, seed, shift.dtype
        return states

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        branch, bias, residual, weight, statistics = ctx.saved_tensors
        gradient, size = gradient.contiguous(), branch.size(-1)
        rows = branch.numel() // size
        residual_gradient = torch.empty_like(residual)
        # Without dropout, and in the same type, branch and residual have the same gradient.
        is_shared = ctx.dropout == 0 and branch.dtype == residual.dtype
        branch_gradient = residual_gradient if is_shared else torch.empty_like(branch)
        warps = _warps(size)
        programs = persistent_programs(gradient.device, _WARPS_PER_MULTIPROCESSOR // warps, rows)
        sums = torch.empty(3 if bias is not None else 2, programs, size, dtype=torch.float32, device=gradient.device)
        _add_norm_backward[(programs,)](
            gradient, branch, bias, residual, weight, statistics, branch_gradient, residual_gradient, sums,
            ctx.seed | _SEED_BIT, rows, **_constants(size, ctx.dropout), HAS_BIAS=bias is not None, IS_SHARED=is_shared,
            num_warps=warps,
        )  # fmt: skip
        weight_gradient, shift_gradient, *bias_gradient = sums.sum(1)
        return (
            branch_gradient,
            None if bias is None else bias_gradient[0].to(bias.dtype),
            residual_gradient,
            weight_gradient.to(weight.dtype),
            shift_gradient.to(ctx.shift_dtype),
            None,
            None,
            None,
        )


def _forward(
    branch: Tensor,
    bias: Tensor | None,
    residual: Tensor,
    weight: Tensor,
    shift: Tensor,
    dropout: float,
    eps: float,
    seed: int,
    keep_statistics: bool = False,
    clamp: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the states, and mean and 1 / deviation of each row (N, 2), which is empty unless they are kept."""
    branch, residual, size = branch.contiguous(), residual.contiguous(), branch.size(-1)
    states, rows = torch.empty_like(branch), branch.numel() // size
    statistics = torch.empty(rows if keep_statistics else 0, 2, dtype=torch.float32, device=branch.device)
    if rows:
        _add_norm[(rows,)](
            branch, bias, residual, weight, shift, states, statistics, seed | _SEED_BIT, eps,
            **_constants(size, dropout), HAS_BIAS=bias is not None, KEEP_STATISTICS=keep_statistics, CLAMP=clamp,
            num_warps=_warps(size),
        )  # fmt: skip
    return states, statistics


def _warps(size: int) -> int:
    """Return the warps of a row: one up to 1,024 columns, which needs no shared memory for sums over the row.

    A quarter of the row then has as many columns as its warps' threads load at once in 16 bits, 16 bytes each: with
    more warps, other threads than those that draw a word would need it.
    """
    return max(1, min(4, int(triton.next_power_of_2(size)) // 1024))


def _constants(size: int, dropout: float) -> dict[str, int | float]:
    """Return what is fixed when a kernel is compiled. The kept are scaled for the rounded probability."""
    dropped = min(round(dropout * _WORDS), _WORDS - 1)
    quarter = triton.cdiv(size, 4)
    return {
        "SIZE": size,
        "QUARTER": quarter,
        "BLOCK": triton.next_power_of_2(quarter),
        "DROPPED": dropped,
        "SCALE": _WORDS / (_WORDS - dropped),
    }


@triton.jit(do_not_specialize=["seed"])
def _add_norm(
    branch, bias, residual, weight, shift, states, statistics, seed, eps,
    SIZE: tl.constexpr, QUARTER: tl.constexpr, BLOCK: tl.constexpr, DROPPED: tl.constexpr, SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr, KEEP_STATISTICS: tl.constexpr, CLAMP: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    columns, is_inside = _columns(SIZE, QUARTER, BLOCK)
    total, _ = _sum(
        branch, bias, residual, seed, row, columns, is_inside, SIZE, QUARTER, BLOCK, DROPPED, SCALE, HAS_BIAS
    )
    if CLAMP:
        total = tl.where(total > 65504.0, 65504.0, tl.where(total < -65504.0, -65504.0, total))
    mean = tl.sum(tl.reshape(total, 4 * BLOCK), 0) / SIZE
    centred = tl.where(is_inside, total - mean, 0.0)
    scale = tl.rsqrt(tl.sum(tl.reshape(centred * centred, 4 * BLOCK), 0) / SIZE + eps)
    if KEEP_STATISTICS:
        tl.store(statistics + 2 * row, mean)
        tl.store(statistics + 2 * row + 1, scale)
    norm_weight = tl.load(weight + columns, mask=is_inside, other=0.0).to(tl.float32)
    norm_shift = tl.load(shift + columns, mask=is_inside, other=0.0).to(tl.float32)
    output = centred * scale * norm_weight + norm_shift
    tl.store(states + row * SIZE + columns, output.to(states.dtype.element_ty), mask=is_inside)


@triton.jit(do_not_specialize=["seed", "rows"])
def _add_norm_backward(
    gradient, branch, bias, residual, weight, statistics, branch_gradient, residual_gradient, sums, seed, rows,
    SIZE: tl.constexpr, QUARTER: tl.constexpr, BLOCK: tl.constexpr, DROPPED: tl.constexpr, SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr, IS_SHARED: tl.constexpr,
):  # fmt: skip
    program, programs = tl.program_id(0), tl.num_programs(0)
    columns, is_inside = _columns(SIZE, QUARTER, BLOCK)
    norm_weight = tl.load(weight + columns, mask=is_inside, other=0.0).to(tl.float32)
    weight_sum = tl.zeros([4, BLOCK], tl.float32)
    shift_sum = tl.zeros([4, BLOCK], tl.float32)
    bias_sum = tl.zeros([4, BLOCK], tl.float32)
    for index in range(program, rows, programs):
        row = tl.cast(index, tl.int64)
        total, kept = _sum(
            branch, bias, residual, seed, row, columns, is_inside, SIZE, QUARTER, BLOCK, DROPPED, SCALE, HAS_BIAS
        )
        mean = tl.load(statistics + 2 * row)
        scale = tl.load(statistics + 2 * row + 1)
        given = tl.load(gradient + row * SIZE + columns, mask=is_inside, other=0.0).to(tl.float32)
        normalized = tl.where(is_inside, (total - mean) * scale, 0.0)
        weight_sum += given * normalized
        shift_sum += given
        given *= norm_weight
        along = tl.sum(tl.reshape(given * normalized, 4 * BLOCK), 0) / SIZE
        level = tl.sum(tl.reshape(given, 4 * BLOCK), 0) / SIZE
        result = (given - level - normalized * along) * scale
        tl.store(
            residual_gradient + row * SIZE + columns,
            result.to(residual_gradient.dtype.element_ty),
            mask=is_inside,
        )
        if DROPPED > 0:
            result = tl.where(kept, result * SCALE, 0.0)
        if not IS_SHARED:
            tl.store(
                branch_gradient + row * SIZE + columns, result.to(branch_gradient.dtype.element_ty), mask=is_inside
            )
        if HAS_BIAS:
            bias_sum += result
    part = sums + program * SIZE + columns
    tl.store(part, weight_sum, mask=is_inside)
    tl.store(part + programs * SIZE, shift_sum, mask=is_inside)
    if HAS_BIAS:
        tl.store(part + 2 * programs * SIZE, bias_sum, mask=is_inside)


@triton.jit
def _columns(SIZE: tl.constexpr, QUARTER: tl.constexpr, BLOCK: tl.constexpr):
    """Return the columns of four quarters (4, BLOCK), and which of them exist."""
    within = tl.arange(0, BLOCK)[None, :]
    columns = tl.arange(0, 4)[:, None] * QUARTER + within
    if SIZE == 4 * BLOCK:
        return columns, tl.full([4, BLOCK], True, tl.int1)  # the compiler then leaves the masks out
    return columns, (within < QUARTER) & (columns < SIZE)


@triton.jit
def _sum(
    branch, bias, residual, seed, row, columns, is_inside,
    SIZE: tl.constexpr, QUARTER: tl.constexpr, BLOCK: tl.constexpr, DROPPED: tl.constexpr, SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Return residual + dropout(branch + bias) of a row, float32 (4, BLOCK), and which elements of branch are kept."""
    added = tl.load(branch + row * SIZE + columns, mask=is_inside, other=0.0).to(tl.float32)
    if HAS_BIAS:
        added += tl.load(bias + columns, mask=is_inside, other=0.0).to(tl.float32)
    kept = is_inside
    if DROPPED > 0:
        places = (row * QUARTER).to(tl.uint32) + tl.arange(0, BLOCK).to(tl.uint32)
        first, second, third, fourth = tl.randint4x(seed, places, _ROUNDS)
        words = tl.join(tl.join(first, second), tl.join(third, fourth))  # (BLOCK, 2, 2)
        kept = tl.reshape(tl.permute(words, (2, 1, 0)), (4, BLOCK)) >= DROPPED
        added = tl.where(kept, added * SCALE, 0.0)
    return added + tl.load(residual + row * SIZE + columns, mask=is_inside, other=0.0).to(tl.float32), kept
