"""LAMB (You et al. 2020, https://arxiv.org/abs/1904.00962, algorithm 2): Adam with layer-wise step lengths.

It is written here because no light library follows the paper: pytorch_optimizer 4.1.0 and torch_optimizer 0.3.0 leave
out the bias correction or scale the learning rate by it, and bound the norm of the weights by 10. timm 1.0.31 follows
it (with ``max_grad_norm=None, always_adapt=True``; equal within 4e-16 after six steps), but needs torchvision.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Lamb(Optimizer):
    """The LAMB optimizer: each tensor moves by the learning rate times the norm of its weights.

    The direction is that of AdamW's step: moments with bias correction, and weight decay added before the norm is
    taken. The norm of the weights is not bounded. NVIDIA's FusedLAMB with ``use_nvlamb`` computes the same in one
    kernel.
    """

    NAME_IN_CHECKPOINTS = "utils.training.lamb.Lamb"  # stays if the class moves, so that old checkpoints are resumed

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
        """Take one step along the gradients, which ``closure`` computes if it is given. Returns its result."""
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
        """Take the step of one parameter group; a tensor whose weights or update are zero takes Adam's step."""
        group["step"] += 1
        updates = self._adam_directions(group, weights)
        torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        lengths = zip(torch._foreach_norm(weights), torch._foreach_norm(updates), strict=True)
        ratios = [torch.where((own > 0) & (update > 0), own / update, 1.0) for own, update in lengths]
        torch._foreach_mul_(updates, ratios)
        torch._foreach_add_(weights, updates, alpha=-group["lr"])

    def _adam_directions(self, group: dict[str, Any], weights: list[Tensor]) -> list[Tensor]:
        """Return each tensor's mean gradient divided by its root mean square, both with bias correction."""
        # The moments, which start at zero.
        for weight in weights:
            if not self.state[weight]:
                self.state[weight] = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}
        gradients = [weight.grad for weight in weights]
        means = [self.state[weight]["exp_avg"] for weight in weights]
        squares = [self.state[weight]["exp_avg_sq"] for weight in weights]

        # Their new values.
        beta1, beta2 = group["betas"]
        torch._foreach_lerp_(means, gradients, 1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

        # The quotient of the corrected moments.
        denominators = torch._foreach_div(squares, 1 - beta2 ** group["step"])
        torch._foreach_sqrt_(denominators)
        torch._foreach_add_(denominators, group["eps"])
        directions = torch._foreach_div(means, 1 - beta1 ** group["step"])
        torch._foreach_div_(directions, denominators)
        return list(directions)
