"""The smallest kernel, which shows whether Triton can compile on this machine: it needs a C compiler, for example."""

import triton
import triton.language as tl
from torch import Tensor

_BLOCK = 128


def add_one(values: Tensor) -> None:
    """Add 1 to float32 ``values`` (n,), in place."""
    _add_one[(triton.cdiv(values.numel(), _BLOCK),)](values, values.numel(), BLOCK=_BLOCK)


@triton.jit
def _add_one(values, count, BLOCK: tl.constexpr):
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_inside = index < count
    tl.store(values + index, tl.load(values + index, mask=is_inside) + 1, mask=is_inside)
