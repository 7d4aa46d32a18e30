"""Mixed precision by NVIDIA's apex.amp, whose plugin Lightning has removed.

The calls follow https://nvidia.github.io/apex/amp.html and apex 25.05, the last version that has amp.
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

from bart.modeling.kernels.available import without_kernels


class ApexAmp(Precision):
    """Plugin for apex.amp at level O1 or O2.

    At O1, apex patches torch's functions so that they cast their inputs. At O2, the model's weights are float16, and
    the optimizer changes float32 master weights. Checkpoints hold the state of the loss scaler and, at O2, the master
    weights.
    """

    precision = "16-mixed"

    def __init__(self, level: str) -> None:
        """Make the plugin for level "O1" or "O2"."""
        self.level = level
        self._device = "cuda"
        self._optimizers: list[Optimizer] = []
        self._ends_step = False  # whether the running backward pass is the last one before an optimizer step

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Change the model and the optimizers in place; both are on their device already."""
        # amp refuses a model that is wrapped for DDP, as Lightning has done. At O1 the inner model will do: its weights
        # stay those that DDP knows.
        inner = model if isinstance(model, pl.LightningModule) else model.module
        self._device = next(inner.parameters()).device.type
        if self.level == "O1":  # amp's lists of functions are older than this one
            amp.register_half_function(torch.nn.functional, "scaled_dot_product_attention")
        amp.initialize(inner, optimizers, opt_level=self.level, verbosity=0)
        self._optimizers = optimizers
        self._set_casts(False)
        return model, optimizers, lr_schedulers

    @contextmanager
    def train_step_context(self) -> Generator[None, None, None]:
        """Switch the casts on for the training step alone.

        In other code amp's patches may raise, for example if a float32 loss is added to a float64 sum. In validation
        they would cache half-precision copies of frozen weights in inference mode, which later backward passes cannot
        use.
        """
        self._set_casts(True)
        with self._torch_alone():
            yield
        self._set_casts(False)

    def val_step_context(self) -> AbstractContextManager[Any]:
        """Return torch's own autocast for O1; nothing is needed at O2, whose weights are half precision."""
        if self.level == "O1":
            return torch.autocast(self._device, torch.float16, cache_enabled=False)
        return nullcontext()

    def backward(
        self, tensor: Tensor, model: pl.LightningModule, optimizer: Optimizer, *args: Any, **kwargs: Any
    ) -> None:
        """Add the gradients of the scaled loss; the last backward pass of a step unscales their sum."""
        scaled = amp.scale_loss(tensor, optimizer, delay_unscale=not self._ends_step)
        with self._torch_alone(), scaled as scaled_loss:
            super().backward(scaled_loss, model, optimizer, *args, **kwargs)

    def optimizer_step(
        self, optimizer: Optimizer, model: pl.LightningModule, closure: Callable[[], Any], **_: Any
    ) -> Any:
        """Run forward and backward pass (``closure``), clip in a hook, and step; amp skips the step on an overflow."""
        self._ends_step = True
        result = closure()
        self._ends_step = False
        self._after_closure(model, optimizer)
        optimizer.step()  # amp takes no closure
        self._set_casts(False)  # amp has switched them on again after the step
        return result

    def main_params(self, optimizer: Optimizer) -> Generator[Tensor, None, None]:
        """Yield the weights that the optimizer changes, at O2 the master weights; their gradients are unscaled."""
        yield from amp.master_params(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scaler and, at O2, the master weights."""
        state = {"loss_scalers": dict(amp.state_dict())}
        if self.level == "O2":  # the model's own weights are rounded
            state["master_weights"] = self._master_weights()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state; Lightning loads the optimizers' states afterwards, which at O2 belong to master weights."""
        amp.load_state_dict(state_dict["loss_scalers"])
        if self.level == "O2":
            for optimizer in self._optimizers:
                optimizer.zero_grad()  # amp creates the master weights when an optimizer is first used
            for weight, stored in zip(self._master_weights(), state_dict["master_weights"], strict=True):
                weight.data.copy_(stored)

    def _master_weights(self) -> list[Tensor]:
        return [weight.detach() for optimizer in self._optimizers for weight in amp.master_params(optimizer)]

    def _torch_alone(self) -> AbstractContextManager[None]:
        """Leave kernels out at O1: amp casts the arguments of torch's functions, which kernels stand in for."""
        return without_kernels() if self.level == "O1" else nullcontext()

    def _set_casts(self, on: bool) -> None:
        if self.level == "O1":  # amp.disable_casts cannot be nested: leaving an inner one switches the casts on
            amp._amp_state.handle._is_active = on
