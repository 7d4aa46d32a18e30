"""Optimizers, learning rate schedules, gradient clipping and frozen parameters."""

import math
from collections.abc import Iterable
from functools import partial
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..cli.training_args import OptimizationSettings
from .lamb import Lamb

FINAL_LEARNING_RATE = 1e-7  # of the polynomial schedule, whose power is 1: both as in the reference recipe
_ADAM_EPSILON = 1e-8
_LAMB_EPSILON = 1e-6


def freeze(
    model: BartForConditionalGeneration, embeddings: bool, encoder: bool, trains_positions: bool = False
) -> None:
    """Exclude parts of a model from training.

    Args:
        model: to train.
        embeddings: exclude the token and position embeddings of encoder and decoder.
        encoder: exclude the whole encoder.
        trains_positions: with ``embeddings``, exclude only those of tokens: repeated positions are not learnt yet.
    """
    sides = (model.model.encoder, model.model.decoder)
    frozen: list[nn.Module] = []
    if embeddings:
        frozen.append(model.model.shared)
        frozen += [] if trains_positions else [side.embed_positions for side in sides]
    if encoder:
        frozen.append(model.model.encoder)
    for module in frozen:
        module.requires_grad_(False)
    if encoder and not embeddings:
        model.model.shared.requires_grad_(True)  # the decoder and the output layer share it with the encoder


def build_optimizer(model: nn.Module, settings: OptimizationSettings, apex: ModuleType | None = None) -> Optimizer:
    """Build the optimizer of the trained parameters. Matrices are decayed, biases and norms are not.

    Args:
        model: to train.
        settings: name (one of ``OPTIMIZERS``), learning rate, weight decay and so on.
        apex: apex's module of optimizers, for a model on a GPU. Its AdamW and LAMB compute the same in one kernel.
    """
    # Two groups: with and without weight decay.
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in trained if parameter.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in trained if parameter.ndim < 2], "weight_decay": 0.0},
    ]

    # The optimizer of that name.
    name, learning_rate = settings.optimizer, settings.learning_rate
    if name == "adafactor":
        # Its module imports peft and accelerate, if they are there, for which other trainings need not wait.
        from transformers.optimization import Adafactor

        return Adafactor(groups, lr=learning_rate, scale_parameter=False, relative_step=False)
    if name == "lamb":
        if apex is None:
            return Lamb(groups, lr=learning_rate, eps=_LAMB_EPSILON)
        # By default apex's also clips at a norm of 1, and does not scale the steps of tensors without weight decay.
        return apex.FusedLAMB(
            groups, lr=learning_rate, eps=_LAMB_EPSILON, max_grad_norm=float("inf"), use_nvlamb=True
        )
    if name == "adamw":
        betas = (0.9, settings.adam_beta2)
        if apex is None:
            return AdamW(groups, lr=learning_rate, betas=betas, eps=_ADAM_EPSILON, fused=True)
        return apex.FusedAdam(groups, lr=learning_rate, betas=betas, eps=_ADAM_EPSILON, adam_w_mode=True)
    raise NotImplementedError(f"--optimizer {name}: is listed in OPTIMIZERS and not built here")


def build_schedule(optimizer: Optimizer, settings: OptimizationSettings, total_steps: int) -> LambdaLR:
    """Build the schedule: a linear rise in the warm-up, then the course of its name until ``total_steps``.

    The courses are "polynomial" (linear, down to FINAL_LEARNING_RATE), "linear" (down to 0), "cosine" and "constant".
    """
    highest = optimizer.defaults["lr"]
    # A partial, not a function: of it checkpoints have always held an empty dictionary.
    fraction = partial(_fraction, settings.lr_scheduler, settings.warmup_steps, total_steps, highest)
    return LambdaLR(optimizer, fraction)


def _fraction(name: str, warmup_steps: int, total_steps: int, highest: float, step: int) -> float:
    """Return the learning rate at a step, from 0, as a fraction of the highest."""
    if step < warmup_steps:
        return step / warmup_steps
    if name == "constant":
        return 1.0

    # The other courses follow from how much of the way down is done.
    steps_down = max(1, total_steps - warmup_steps)
    if name == "linear":
        return max(0.0, (total_steps - step) / steps_down)
    done = (step - warmup_steps) / steps_down
    if name == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    if name == "polynomial":
        if step >= total_steps:
            return FINAL_LEARNING_RATE / highest
        return ((highest - FINAL_LEARNING_RATE) * (1 - done) + FINAL_LEARNING_RATE) / highest
    raise NotImplementedError(f"--lr_scheduler {name}: is listed as a choice and not built here")


def clip_gradients(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale the gradients so that their total 2-norm is at most ``max_norm`` (0: no limit). Returns the norm before."""
    limit = max_norm if max_norm > 0 else float("inf")
    return torch.nn.utils.clip_grad_norm_(parameters, limit)
