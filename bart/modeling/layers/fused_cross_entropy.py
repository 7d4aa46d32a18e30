"""The output layer and its cross entropy in one function, so that the logits of a full batch never exist.

Shapes: N target tokens, n tokens of a portion, D model, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bart.modeling.kernels.available import triton_kernels
from bart.modeling.layers.aligned_vocabulary import align_vocabulary
from bart.modeling.layers.attention import cast_for_autocast

LOGITS_AT_ONCE = 2**24  # of a portion: enough for efficient matrix products; 64 MiB in float32
# With this project's kernel, which needs no other tensor of their size: 512 MiB in 16 bits. A step of up to 5,300
# tokens of BART's vocabulary is one portion, and adds up no gradients of the weight, which take 206 MB each.
LOGITS_AT_ONCE_BY_KERNEL = 2**28
_ROWS_ON_CPU = 2048  # of the weight's gradient, which stay in the processor's cache
FLOAT16_SCALE = 16.0  # gradients of logits are about 1 / V, which float16 rounds badly
_WITH_WIDE_PRODUCTS = {"cuda"}  # devices whose products of 16-bit matrices may be float32


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
    vocabulary = len(weight)
    weight, bias = align_vocabulary(cast_for_autocast(weight), bias)  # cast once, not for every portion
    kernels, size = triton_kernels(weight), _tokens_at_once(weight, vocabulary)
    loss = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
    predictions = torch.empty_like(labels)
    for start in range(0, len(states), size):
        portion = slice(start, start + size)
        logits = F.linear(states[portion], weight, bias)
        if kernels is not None:
            loss += kernels.cross_entropy(logits, labels[portion], vocabulary, 0.0, None).sum()
        else:
            loss += cross_entropy_of_logits(logits[:, :vocabulary], labels[portion], 0.0)[0]
        predictions[portion] = logits[:, :vocabulary].argmax(-1)
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
        with torch.autocast(device, enabled=False):
            portions = max(1, -(-len(states) // _tokens_at_once(weight, vocabulary)))
            size = max(1, -(-len(states) // portions))  # equal portions
            for start in range(0, len(states), size):
                portion, targets = states[start : start + size], labels[start : start + size]
                part, gradient, scale = _loss_and_gradient(
                    portion, weight, bias, targets, vocabulary, label_smoothing, wants_states or wants_weight
                )
                loss += part
                if wants_states:
                    product = matrix_product(gradient, weight.to(gradient.dtype), state_dtype)
                    state_gradients.append(product.div_(scale))
                if weight_gradient is not None:
                    add_product(weight_gradient, gradient, portion.to(gradient.dtype), 1 / scale)
        ctx.save_for_backward(torch.cat(state_gradients) if wants_states else None, weight_gradient)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the stored gradients in place, which works only once."""
        return *scale_gradients(ctx.saved_tensors, factor), None, None, None


def scale_gradients(gradients: Iterable[Tensor | None], factor: Tensor) -> Iterator[Tensor | None]:
    """Multiply gradients, in place, by a scalar that is not rounded to their type; leave out None."""
    for gradient in gradients:
        # As a tensor with dimensions, the factor has a say in the type of the computation.
        yield None if gradient is None else torch.mul(gradient, factor.expand(1, 1), out=gradient)


def _tokens_at_once(weight: Tensor, vocabulary: int) -> int:
    """Return how many tokens a portion has at most, given the output layer's weight (V + p, D)."""
    logits = LOGITS_AT_ONCE if triton_kernels(weight) is None else LOGITS_AT_ONCE_BY_KERNEL
    return max(1, logits // vocabulary)


def _loss_and_gradient(
    states: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    vocabulary: int,
    label_smoothing: float,
    wants_gradient: bool,
) -> tuple[Tensor, Tensor, float]:
    """Compute the loss of a portion, and its gradient with respect to the logits.

    Args:
        states: (n, D).
        weight: (V + p, D); the last p rows mean nothing.
        bias: (V + p).
        targets: (n,).
        vocabulary: V.
        label_smoothing: probability taken from the label and spread over the vocabulary.
        wants_gradient: false: the gradient that is returned means nothing.

    Returns:
        the summed loss, the gradient (n, V + p) in the logits' type, times a scale, and the scale
    """
    logits = F.linear(states, weight, bias)  # (n, V + p)
    scale = FLOAT16_SCALE if logits.dtype == torch.float16 else 1.0
    kernels = triton_kernels(logits)
    if kernels is not None:
        wanted = scale if wants_gradient else None
        return kernels.cross_entropy(logits, targets, vocabulary, label_smoothing, wanted).sum(), logits, scale

    dtype, surplus = logits.dtype, logits.size(1) - vocabulary
    loss, log_probabilities = cross_entropy_of_logits(logits[:, :vocabulary], targets, label_smoothing)
    del logits
    if not wants_gradient:
        return loss, log_probabilities, scale
    gradient = gradient_of_logits(log_probabilities, targets, label_smoothing)
    return loss, for_products(gradient, dtype, scale, surplus), scale


def cross_entropy_of_logits(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the summed loss of logits (n, V) and their log probabilities (n, V), at least in float32."""
    log_probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    loss = -(1 - label_smoothing) * log_probabilities.gather(1, targets[:, None]).sum()
    if label_smoothing > 0:
        loss -= label_smoothing * log_probabilities.mean(-1).sum()
    return loss, log_probabilities


def gradient_of_logits(log_probabilities: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return the gradient (n, V) of the loss. Overwrites the log probabilities."""
    gradient = log_probabilities.exp_()
    if label_smoothing > 0:
        gradient.sub_(label_smoothing / gradient.size(1))
    gradient[torch.arange(len(targets), device=targets.device), targets] -= 1 - label_smoothing
    return gradient


def for_products(gradient: Tensor, dtype: torch.dtype, scale: float, surplus: int) -> Tensor:
    """Return a gradient (n, V), times ``scale``, in ``dtype`` and with the columns of an aligned weight: (n, V + p)."""
    gradient = (gradient if scale == 1 else gradient.mul_(scale)).to(dtype)
    return F.pad(gradient, (0, surplus)) if surplus else gradient


def add_product(weight_gradient: Tensor, gradient: Tensor, states: Tensor, factor: float) -> None:
    """Add ``factor`` gradient^T states to ``weight_gradient`` (V, D), given gradient (n, V + p) and states (n, D)."""
    gradient = gradient[:, : len(weight_gradient)]
    if weight_gradient.device.type != "cpu":
        if weight_gradient.dtype == gradient.dtype:
            weight_gradient.addmm_(gradient.t(), states, alpha=factor)
        else:
            weight_gradient.add_(matrix_product(gradient.t(), states, weight_gradient.dtype), alpha=factor)
        return
    for start in range(0, len(weight_gradient), _ROWS_ON_CPU):
        product = torch.mm(gradient[:, start : start + _ROWS_ON_CPU].t(), states)
        weight_gradient[start : start + _ROWS_ON_CPU].add_(product, alpha=factor)


def matrix_product(left: Tensor, right: Tensor, dtype: torch.dtype) -> Tensor:
    """Return left @ right in ``dtype``; if the device can, the sums are not rounded to 16 bits on the way."""
    is_wider = dtype == torch.float32 and left.dtype in (torch.float16, torch.bfloat16)
    if is_wider and left.device.type in _WITH_WIDE_PRODUCTS:
        return torch.mm(left, right, out_dtype=dtype)
    return torch.mm(left, right).to(dtype)
