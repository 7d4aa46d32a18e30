"""The cross entropy of logits and its gradient, in two passes over each row and with no tensor beside the logits.

Torch's operations go over the logits in float32 nine times. This kernel reads a row twice, the second time usually from
the GPU's second-level cache, and writes the gradient over it.
Shapes: n tokens, V vocabulary, p columns behind it that mean nothing.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

# A row of BART's vocabulary has 12.3 blocks. Of each, a thread reads twice 8 neighbouring columns, 16 bytes in 16 bits,
# and keeps four numbers of every 8: the compiler needs 40 registers, so 6 programs share a multiprocessor of an H100,
# and 48 kB are under way, twice what hides the latency of its memory.
_BLOCK = 4096
_WIDTH = 8
_WARPS = 8


def cross_entropy(
    logits: Tensor, labels: Tensor, vocabulary: int, label_smoothing: float, gradient_scale: float | None
) -> Tensor:
    """Compute the cross entropy with label smoothing of each token, and overwrite the logits by its gradient.

    Args:
        logits: (n, V + p), contiguous.
        labels: int64 (n,), each below V.
        vocabulary: V; the gradient of the columns behind it is 0.
        label_smoothing: probability taken from the label and spread over the vocabulary.
        gradient_scale: multiplies the gradient before it is rounded; None: leave the logits as they are.

    Returns:
        float32 (n,), in nats
    """
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    if len(logits) > 0:
        _cross_entropy[(len(logits),)](
            logits,
            labels,
            losses,
            logits.stride(0),
            vocabulary,
            logits.size(1),
            1.0 - label_smoothing,
            label_smoothing / vocabulary,
            1.0 if gradient_scale is None else gradient_scale,
            SMOOTHS=label_smoothing > 0,
            WRITES_GRADIENT=gradient_scale is not None,
            BLOCK=_BLOCK,
            WIDTH=_WIDTH,
            num_warps=_WARPS,
        )
    return losses


@triton.jit
def _cross_entropy(
    logits,
    labels,
    losses,
    stride,
    vocabulary,
    columns,
    of_label,  # probability of the label in the smoothed target, beyond that of every token
    of_each,  # probability of every token in it
    scale,
    SMOOTHS: tl.constexpr,
    WRITES_GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0)
    label = tl.load(labels + row)
    logits += row.to(tl.int64) * stride
    offsets = tl.arange(0, BLOCK // WIDTH)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]

    # Each thread sums up its own columns, relative to its largest so far (finite, so that -inf has a weight of 0). The
    # label's logit is picked on the way: another thread may overwrite it later.
    largest = tl.full((BLOCK // WIDTH,), -3.0e38, tl.float32)
    exponentials = tl.zeros((BLOCK // WIDTH,), tl.float32)
    total = tl.zeros((BLOCK // WIDTH,), tl.float32)
    of_target = tl.zeros((BLOCK // WIDTH,), tl.float32)
    for start in range(0, vocabulary, BLOCK):
        index = start + offsets
        is_token = index < vocabulary
        values = tl.load(logits + index, mask=index < columns, other=0.0).to(tl.float32)  # 16 bytes at once
        if SMOOTHS:
            total += tl.sum(tl.where(is_token, values, 0.0), 1)
        of_target += tl.sum(tl.where(index == label, values, 0.0), 1)
        values = tl.where(is_token, values, -float("inf"))
        larger = tl.maximum(largest, tl.max(values, 1))
        exponentials = exponentials * tl.exp(largest - larger) + tl.sum(tl.exp(values - larger[:, None]), 1)
        largest = larger

    # The loss is the mean of -log p under the smoothed target.
    maximum = tl.max(largest, 0)
    log_sum = maximum + tl.log(tl.sum(exponentials * tl.exp(largest - maximum), 0))
    loss = log_sum - of_label * tl.sum(of_target, 0)
    if SMOOTHS:
        loss -= of_each * tl.sum(total, 0)
    tl.store(losses + row, loss)

    if WRITES_GRADIENT:
        for start in range(0, columns, BLOCK):
            index = start + offsets
            values = tl.load(logits + index, mask=index < columns, other=0.0).to(tl.float32)
            gradient = tl.exp(values - log_sum) - of_each
            gradient = tl.where(index == label, gradient - of_label, gradient) * scale
            gradient = tl.where(index < vocabulary, gradient, 0.0)
            tl.store(logits + index, gradient.to(logits.dtype.element_ty), mask=index < columns)
