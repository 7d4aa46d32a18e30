"""The output layer and its cross entropy in one function, so that the logits of a full batch never exist.

Shapes: N target tokens, n tokens of a portion, D model, V vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.layers.aligned_vocabulary import align_vocabulary
from bart.modeling.layers.attention import cast_for_autocast

LOGITS_AT_ONCE = 2**24  # of a portion: enough for efficient matrix products; 64 MiB in float32
_ROWS_ON_CPU = 2048  # of the weight's gradient, which stay in the processor's cache
_FLOAT16_SCALE = 16.0  # gradients of logits are about 1 / V, which float16 rounds badly


def fused_cross_entropy(
    states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, label_smoothing: float
) -> Tensor:
    """Sum the cross entropy, in nats, of the logits states weight^T + bias.

    Smoothing mixes the one-hot target with the uniform distribution over the vocabulary (Szegedy et al. 2016,
    https://arxiv.org/abs/1512.00567, section 7). The tokens are processed in portions, and the gradients of the states
    and, unless it is frozen, of the weight are computed together with the loss. Under autocast the matrix products are
    in its type; everything else is at least in float32.

    Args:
        states: (N, D).
        weight: (V, D).
        bias: (V), not trained.
        labels: (N), none of them ignored.
        label_smoothing: probability taken from the label and spread over the vocabulary.

    Returns:
        a scalar, which can be differentiated once
    """
    loss: Tensor = _FusedCrossEntropy.apply(states, weight, bias, labels, label_smoothing)  # type: ignore[no-untyped-call]
    return loss


@torch.no_grad()
def cross_entropy_and_predictions(
    states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum the cross entropy of the logits states weight^T + bias, and predict the likeliest tokens, without gradients.

    Args:
        states: (N, D).
        weight: (V, D).
        bias: (V).
        labels: (N), none of them ignored.

    Returns:
        the sum, a scalar at least in float32, and the predictions, int64 (N,)
    """
    vocabulary, size = len(weight), max(1, LOGITS_AT_ONCE // len(weight))
    weight, bias = align_vocabulary(cast_for_autocast(weight), bias)  # cast once, not for every portion
    loss = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
    predictions = torch.empty_like(labels)
    for start in range(0, len(states), size):
        portion = slice(start, start + size)
        logits = F.linear(states[portion], weight, bias)[:, :vocabulary]
        loss += _cross_entropy(logits, labels[portion], 0.0)[0]
        predictions[portion] = logits.argmax(-1)
    return loss, predictions


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, label_smoothing: float
    ) -> Tensor:
        # Cast as autocast would, since it is off within this function.
        wants_states, wants_weight = ctx.needs_input_grad[:2]
        device, state_dtype, weight_dtype = states.device.type, states.dtype, weight.dtype
        states, weight, bias = map(cast_for_autocast, (states, weight, bias))

        # Compute loss and gradients portion by portion.
        loss = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
        state_gradients = [states.new_empty((0, states.size(1)), dtype=state_dtype)]
        weight_gradient = torch.zeros_like(weight, dtype=weight_dtype) if wants_weight else None
        vocabulary = len(weight)
        weight, bias = align_vocabulary(weight, bias)
        surplus = len(weight) - vocabulary
        with torch.autocast(device, enabled=False):
            portions = max(1, -(-len(states) // max(1, LOGITS_AT_ONCE // vocabulary)))
            size = max(1, -(-len(states) // portions))  # equal portions
            for start in range(0, len(states), size):
                portion, targets = states[start : start + size], labels[start : start + size]
                logits = F.linear(portion, weight, bias)[:, :vocabulary]
                part, log_probabilities = _cross_entropy(logits, targets, label_smoothing)
                loss += part
                dtype = logits.dtype
                del logits
                if not (wants_states or wants_weight):
                    continue
                gradient, scale = _gradient_of_logits(log_probabilities, targets, label_smoothing, dtype)
                if surplus:
                    gradient = F.pad(gradient, (0, surplus))
                if wants_states:
                    state_gradients.append(torch.mm(gradient, weight.to(gradient.dtype)).to(state_dtype).div_(scale))
                if weight_gradient is not None:
                    _add_product(weight_gradient, gradient, portion.to(gradient.dtype), 1 / scale)
        ctx.save_for_backward(torch.cat(state_gradients) if wants_states else None, weight_gradient)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """Scale the stored gradients in place, which works only once."""
        state_gradient, weight_gradient = (
            None if gradient is None else gradient.mul_(factor.to(gradient.dtype)) for gradient in ctx.saved_tensors
        )
        return state_gradient, weight_gradient, None, None, None


def _cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the summed loss of logits (n, V) and their log probabilities (n, V), at least in float32."""
    log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    loss = -(1 - label_smoothing) * log_probabilities.gather(1, targets[:, None]).sum()
    if label_smoothing > 0:
        loss -= label_smoothing * log_probabilities.mean(-1).sum()
    return loss, log_probabilities


def _gradient_of_logits(
    log_probabilities: Tensor, targets: Tensor, label_smoothing: float, dtype: torch.dtype
) -> tuple[Tensor, float]:
    """Return the gradient (n, V) in ``dtype``, times a scale, and the scale. Overwrites the log probabilities."""
    gradient = log_probabilities.exp_()
    if label_smoothing > 0:
        gradient.sub_(label_smoothing / gradient.size(1))
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1 - label_smoothing
    if dtype == torch.float16:
        return gradient.mul_(_FLOAT16_SCALE).to(dtype), _FLOAT16_SCALE
    return gradient.to(dtype), 1.0


def _add_product(weight_gradient: Tensor, gradient: Tensor, states: Tensor, factor: float) -> None:
    """Add ``factor`` gradient^T states to ``weight_gradient`` (V, D), given gradient (n, V + p) and states (n, D)."""
    gradient = gradient[:, : len(weight_gradient)]
    rows = _ROWS_ON_CPU if weight_gradient.device.type == "cpu" else len(weight_gradient)
    for start in range(0, len(weight_gradient), rows):
        product = torch.mm(gradient[:, start : start + rows].t(), states)
        weight_gradient[start : start + rows].add_(product, alpha=factor)
