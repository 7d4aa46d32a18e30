"""LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962, algorithm 2): Adam, with steps as long as weights allow.

Written here because no light library takes the paper's steps: pytorch_optimizer 4.1.0 and torch_optimizer 0.3.0 leave
the bias correction out or scale the learning rate by it, and bound the norm of the weights by 10. timm 1.0.31 does take
them (``max_grad_norm=None, always_adapt=True``: the same within 4e-16 after six steps), and needs torchvision.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """Of each tensor, the step's length is the learning rate times the length of the weights.

    Its direction is that of AdamW's step: moments with bias correction, and the decay added to it before its length is
    taken. The norm of the weights is not bounded. NVIDIA's FusedLAMB with ``use_nvlamb`` does the same, in one kernel.
    """

    NAME_IN_CHECKPOINTS = "utils.training.lamb.Lamb"  # as it was in those of earlier versions

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "step": 0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step, along the gradients after ``closure``; returns what it returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._step_group(group, weights)
        return loss

    def _step_group(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        group["step"] += 1
        updates = self._adam_directions(group, weights)
        torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        lengths = zip(torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True)
        ratios = [torch.where((own > 0) & (update > 0), own / update, 1.0) for own, update in lengths]
        torch._foreach_mul_(updates, ratios)
        torch._foreach_add_(weights, updates, alpha=-group["lr"])

    def _adam_directions(self, group: dict[str, Any], weights: list[Tensor]) -> list[Tensor]:
        """Mean gradient by root mean square, both without the bias that they have from starting at zero."""
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
        gradients = [weight.grad for weight in weights]
        means = [self.state[weight]["exp_avg"] for weight in weights]
        squares = [self.state[weight]["exp_avg_sq"] for weight in weights]
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        denominators = torch._foreach_div(squares, 1 - beta2 ** group["step"])
        torch._foreach_sqrt_(denominators)
        torch._foreach_add_(denominators, group["eps"])
        directions = torch._foreach_div(means, 1 - beta1 ** group["step"])
        torch._foreach_div_(directions, denominators)
        return list(directions)
