"""The output layer and the loss of R-Drop in one function (Liang et al. 2021, https://arxiv.org/abs/2106.14448).

Every target token is predicted twice, with different dropout. The loss is the cross entropy of both predictions, and
the divergence between them.

Shapes: N target tokens, n tokens of a portion, D model, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.layers.aligned_vocabulary import align_vocabulary
from bart.modeling.layers.attention import cast_for_autocast
from bart.modeling.layers.fused_cross_entropy import (
    FLOAT16_SCALE,
    LOGITS_AT_ONCE,
    add_product,
    cross_entropy_of_logits,
    for_products,
    gradient_of_logits,
    matrix_product,
    scale_gradients,
)


def fused_r_drop(
    states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, label_smoothing: float, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum the loss of R-Drop, in nats, of the logits states weight^T + bias.

    For the predictions P1 and P2 of a token the paper's loss (section 2.1) is
    CE(P1) + CE(P2) + alpha/2 (KL(P1 || P2) + KL(P2 || P1)). This is half of it: the loss of a training without R-Drop,
    CE, and alpha/2 times the symmetric divergence. So alpha is the paper's, and the size of gradients, which are
    clipped, stays that of the cross entropy. Label smoothing applies to the cross entropy alone.

    The tokens are processed in portions, and the gradients of the states and, unless it is frozen, of the weight are
    computed together with the loss. Under autocast the matrix products are in its type; everything else is at least in
    float32. It is written in torch's operations, on a GPU too.

    Args:
        states: (2, N, D), of both predictions.
        weight: (V, D).
        bias: (V), not trained.
        labels: (N), none of them ignored.
        label_smoothing: probability taken from the label and spread over the vocabulary.
        alpha: the weight of the divergence.

    Returns:
        the loss, which can be differentiated once; the mean of both cross entropies with smoothing; and the symmetric
        divergence, the mean of both directions: three scalars, each a sum over the tokens
    """
    loss, cross_entropy, divergence = _FusedRDrop.apply(  # type: ignore[no-untyped-call]
        states, weight, bias, labels, label_smoothing, alpha
    )
    return loss, cross_entropy, divergence


class _FusedRDrop(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, label_smoothing: float, alpha: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        # Cast as autocast would, since it is off within this function.
        wants_states, wants_weight = ctx.needs_input_grad[:2]
        device, state_dtype, weight_dtype = states.device.type, states.dtype, weight.dtype
        states, weight, bias = map(cast_for_autocast, (states, weight, bias))

        # Compute loss and gradients portion by portion.
        sums = states.new_zeros(2, dtype=torch.promote_types(states.dtype, torch.float32))
        state_gradient = torch.empty_like(states, dtype=state_dtype) if wants_states else None
        weight_gradient = torch.zeros_like(weight, dtype=weight_dtype) if wants_weight else None
        vocabulary = len(weight)
        weight, bias = align_vocabulary(weight, bias)
        with torch.autocast(device, enabled=False):
            size = max(1, LOGITS_AT_ONCE // (2 * vocabulary))
            for start in range(0, len(labels), size):
                portion = states[:, start : start + size].flatten(0, 1)  # (2n, D)
                targets = labels[start : start + size]
                logits = F.linear(portion, weight, bias)  # (2n, V + p)
                parts, gradient, scale = _losses_and_gradient(logits, targets, vocabulary, label_smoothing, alpha)
                sums += parts
                if state_gradient is not None:
                    of_states = matrix_product(gradient, weight.to(gradient.dtype), state_dtype).div_(scale)
                    state_gradient[:, start : start + size] = of_states.view(2, len(targets), -1)
                if weight_gradient is not None:
                    add_product(weight_gradient, gradient, portion.to(gradient.dtype), 1 / scale)
        ctx.save_for_backward(state_gradient, weight_gradient)
        cross_entropy, divergence = sums[0].clone(), sums[1].clone()
        ctx.mark_non_differentiable(cross_entropy, divergence)
        return cross_entropy + alpha / 2 * divergence, cross_entropy, divergence

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the stored gradients in place, which works only once."""
        return *scale_gradients(ctx.saved_tensors, factor), None, None, None, None


def _losses_and_gradient(
    logits: Tensor, targets: Tensor, vocabulary: int, label_smoothing: float, alpha: float
) -> tuple[Tensor, Tensor, float]:
    """Compute the losses of a portion, and the gradient of the whole loss with respect to the logits.

    Args:
        logits: (2n, V + p), those of both predictions; the last p columns mean nothing.
        targets: (n,).
        vocabulary: V.
        label_smoothing: probability taken from the label and spread over the vocabulary.
        alpha: the weight of the divergence.

    Returns:
        the mean of both cross entropies and the symmetric divergence (2,), the gradient (2n, V + p) in the logits'
        type, times a scale, and the scale
    """
    dtype, surplus = logits.dtype, logits.size(1) - vocabulary
    scale = FLOAT16_SCALE if dtype == torch.float16 else 1.0
    targets = targets.repeat(2)
    cross_entropy, log_probabilities = cross_entropy_of_logits(logits[:, :vocabulary], targets, label_smoothing)
    divergence, gradient = _divergence(log_probabilities)
    of_cross_entropy = gradient_of_logits(log_probabilities, targets, label_smoothing)
    gradient.mul_(alpha / 2).add_(of_cross_entropy, alpha=0.5)
    return torch.stack([cross_entropy / 2, divergence]), for_products(gradient, dtype, scale, surplus), scale


def _divergence(log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the symmetric divergence (KL(P || Q) + KL(Q || P)) / 2, summed over the tokens, and its gradient.

    The gradient of KL(P || Q) with respect to the logits is P (log P - log Q - KL(P || Q)) for those of P, and Q - P
    for those of Q.

    Args:
        log_probabilities: (2n, V), first those of P.

    Returns:
        the divergence and its gradient with respect to the logits (2n, V)
    """
    probabilities = log_probabilities.exp()
    (first, second), (log_first, log_second) = probabilities.chunk(2), log_probabilities.chunk(2)
    difference = log_first - log_second
    weighted = torch.cat([difference, -difference]).mul_(probabilities)  # P (log P - log Q), then Q (log Q - log P)
    divergences = weighted.sum(-1, keepdim=True)  # (2n, 1): KL(P || Q), then KL(Q || P)
    gradient = weighted.sub_(probabilities * divergences)
    change = torch.sub(first, second, out=difference)
    gradient[: len(change)] += change
    gradient[len(change) :] -= change
    return divergences.sum() / 2, gradient.div_(2)
