"""Mixed precision by NVIDIA's apex.amp, for which Lightning has no plugin any more.

The calls are those of https://nvidia.github.io/apex/amp.html, of apex 25.05, its last version with amp.
"""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from apex import amp
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor, nn
from torch.optim import Optimizer


class ApexAmp(Precision):
    """At level O1, torch's functions cast what they are given; at O2, weights are half beside float32 master weights.

    Checkpoints hold the state of the loss scaler and, at O2, the master weights.
    """

    precision = "16-mixed"

    def __init__(self, level: str) -> None:
        """``level`` is "O1" or "O2"."""
        self.level = level
        self._device = "cuda"
        self._optimizers: list[Optimizer] = []
        self._ends_step = False  # whether the backward pass that runs is the last one before an optimizer step

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Change the model and the optimizers, in place; both are on their device by now."""
        # Lightning has wrapped the model for DDP (torch's or apex's), and amp refuses that. At O1 the weights stay what
        # DDP has seen.
        inner = model if isinstance(model, pl.LightningModule) else model.module
        self._device = next(inner.parameters()).device.type
        if self.level == "O1":  # attention is younger than amp's lists
            amp.register_half_function(torch.nn.functional, "scaled_dot_product_attention")
        amp.initialize(inner, optimizers, opt_level=self.level, verbosity=0)
        self._optimizers = optimizers
        self._set_casts(False)
        return model, optimizers, lr_schedulers

    @contextmanager
    def train_step_context(self) -> Generator[None, None, None]:
        """Casts are on in the training step alone.

        In other code amp's patches raise, as where float64 sums take up a float32 loss. In validation they would keep
        half copies of frozen weights that are made in inference mode, which no later backward pass could use.
        """
        self._set_casts(True)
        yield
        self._set_casts(False)

    def val_step_context(self) -> AbstractContextManager[Any]:
        """What O1 does, by torch itself; at O2 the weights are half."""
        if self.level == "O1":
            return torch.autocast(self._device, torch.float16, cache_enabled=False)
        return nullcontext()

    def backward(
        self, tensor: Tensor, model: pl.LightningModule, optimizer: Optimizer, *args: Any, **kwargs: Any
    ) -> None:
        """Gradients of the scaled loss. They are unscaled when all of a step are added up."""
        with amp.scale_loss(tensor, optimizer, delay_unscale=not self._ends_step) as scaled_loss:
            super().backward(scaled_loss, model, optimizer, *args, **kwargs)

    def optimizer_step(
        self, optimizer: Optimizer, model: pl.LightningModule, closure: Callable[[], Any], **_: Any
    ) -> Any:
        """Forward and backward pass (``closure``), clipping (in a hook), the step; amp skips it after an overflow."""
        self._ends_step = True
        result = closure()
        self._ends_step = False
        self._after_closure(model, optimizer)
        optimizer.step()  # amp takes no closure
        self._set_casts(False)  # amp switches them off for the step, and on again
        return result

    def main_params(self, optimizer: Optimizer) -> Generator[Tensor, None, None]:
        """The weights that the optimizer changes, whose gradients are unscaled: at O2 the master weights."""
        yield from amp.master_params(optimizer)

    def state_dict(self) -> dict[str, Any]:
        state = {"loss_scalers": dict(amp.state_dict())}
        if self.level == "O2":  # the model's weights are these, rounded
            state["master_weights"] = self._master_weights()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning calls this before the optimizers' states are loaded, which at O2 belong to master weights."""
        amp.load_state_dict(state_dict["loss_scalers"])
        if self.level == "O2":
            for optimizer in self._optimizers:
                optimizer.zero_grad()  # amp makes the master weights when an optimizer is first used
            for weight, stored in zip(self._master_weights(), state_dict["master_weights"], strict=True):
                weight.data.copy_(stored)

    def _master_weights(self) -> list[Tensor]:
        return [weight.detach() for optimizer in self._optimizers for weight in amp.master_params(optimizer)]

    def _set_casts(self, on: bool) -> None:
        if self.level == "O1":  # amp.disable_casts cannot be nested: the inner one's end switches them on
            amp._amp_state.handle._is_active = on
