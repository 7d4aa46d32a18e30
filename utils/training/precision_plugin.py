"""Lightning's plugin for each precision, and one of our own for float16."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch.optim import Optimizer

from ..cli.training_args import MixedPrecisionSettings


class NativeAmp(MixedPrecision):
    """Float32 weights, autocast to float16 and dynamic loss scaling, all of it torch's own.

    Lightning leaves the gradients of a fused optimizer scaled, as it can unscale them itself, and so refuses to clip
    them. torch's scaler makes no such exception: where gradients are unscaled already, it only tells a fused optimizer
    whether they overflowed, so that it leaves the weights and its own state alone.
    """

    def __init__(self, device: str) -> None:
        """``device`` is a type of device, "cuda" or "cpu"."""
        super().__init__("16-mixed", device)

    def optimizer_step(
        self, optimizer: Optimizer, model: pl.LightningModule, closure: Callable[[], Any], **arguments: Any
    ) -> Any:
        """Forward and backward pass (``closure``), unscaling, clipping (in a hook), and the step or its skipping."""
        result = closure()
        self.scaler.unscale_(optimizer)
        self._after_closure(model, optimizer)
        self.scaler.step(optimizer, **arguments)
        self.scaler.update()
        return result


def precision_plugin(precision: MixedPrecisionSettings, device: str) -> Precision:
    """Make Lightning's plugin for a type of device. The backend must have been chosen: it cannot be ``auto``."""
    if precision.scales_loss:
        if precision.amp_backend == "native":
            return NativeAmp(device)
        from .apex_amp import ApexAmp  # imports apex, which is seldom there

        return ApexAmp(precision.amp_level)
    return MixedPrecision("bf16-mixed", device) if precision.bf16 else Precision()
