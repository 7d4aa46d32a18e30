"""apex's fused optimizers, by one tensor after the other. Step counts are in the groups, as in apex."""

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class _Moments(Optimizer):
    def zero_grad(self):
        super().zero_grad(set_to_none=True)

    @torch.no_grad()
    def step(self, closure=None):
        assert closure is None, "what this project gives"
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step_one(group, weight, self._direction(group, weight))

    def _direction(self, group: dict[str, Any], weight: Tensor) -> Tensor:
        state, (beta1, beta2) = self.state[weight], group["betas"]
        mean = state.setdefault("exp_avg", torch.zeros_like(weight))
        square = state.setdefault("exp_avg_sq", torch.zeros_like(weight))
        mean.mul_(beta1).add_((1 - beta1) * weight.grad)
        square.mul_(beta2).add_((1 - beta2) * weight.grad**2)
        root = (square / (1 - beta2 ** group["step"])).sqrt() + group["eps"]
        return mean / (1 - beta1 ** group["step"]) / root + group["weight_decay"] * weight


class FusedAdam(_Moments):
    def __init__(
        self,
        params,
        lr=1e-3,
        bias_correction=True,
        betas=(0.9, 0.999),
        eps=1e-8,
        adam_w_mode=True,
        weight_decay=0.0,
        amsgrad=False,
        set_grad_none=True,
        capturable=False,
        master_weights=False,
    ):
        assert adam_w_mode and bias_correction, "what this project gives"
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _step_one(self, group: dict[str, Any], weight: Tensor, direction: Tensor) -> None:
        weight.sub_(group["lr"] * direction)


class FusedLAMB(_Moments):
    def __init__(
        self,
        params,
        lr=1e-3,
        bias_correction=True,
        betas=(0.9, 0.999),
        eps=1e-6,
        weight_decay=0.01,
        amsgrad=False,
        adam_w_mode=True,
        grad_averaging=True,
        set_grad_none=True,
        max_grad_norm=1.0,
        use_nvlamb=False,
    ):
        assert adam_w_mode and bias_correction and grad_averaging, "what this project gives"
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.max_grad_norm = max_grad_norm
        self.use_nvlamb = use_nvlamb

    def step(self, closure=None):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        torch.nn.utils.clip_grad_norm_(weights, self.max_grad_norm)
        super().step(closure)

    def _step_one(self, group: dict[str, Any], weight: Tensor, direction: Tensor) -> None:
        ratio = 1.0
        if self.use_nvlamb or group["weight_decay"] != 0.0:
            length, step_length = weight.norm(), direction.norm()
            ratio = length / step_length if length != 0 and step_length != 0 else 1.0
        weight.sub_(group["lr"] * ratio * direction)
