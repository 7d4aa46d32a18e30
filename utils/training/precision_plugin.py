"""Lightning's plugin for each precision, with a class of this project for float16."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision, Precision
from torch.optim import Optimizer

from ..cli.training_args import MixedPrecisionSettings

_MATRIX_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # by the plugin's name of the precision


class NativeAmp(MixedPrecision):
    """Torch's mixed precision in float16: float32 weights, autocast, and dynamic loss scaling.

    Lightning's plugin lets a fused optimizer unscale the gradients itself, and therefore cannot clip them. This one
    unscales them first. torch's scaler then passes to a fused optimizer only whether they overflowed, in which case the
    optimizer changes neither the weights nor its state.
    """

    def __init__(self, device: str) -> None:
        """Make the plugin for a type of device, "cuda" or "cpu"."""
        super().__init__("16-mixed", device)

    def optimizer_step(
        self, optimizer: Optimizer, model: pl.LightningModule, closure: Callable[[], Any], **arguments: Any
    ) -> Any:
        """Run forward and backward pass (``closure``), unscale, clip in a hook, and step unless gradients overflow."""
        result = closure()
        self.scaler.unscale_(optimizer)
        self._after_closure(model, optimizer)
        self.scaler.step(optimizer, **arguments)
        self.scaler.update()
        return result


def precision_plugin(precision: MixedPrecisionSettings, device: str) -> Precision:
    """Make the plugin for a type of device, "cuda" or "cpu". The backend must be resolved: it cannot be ``auto``."""
    if precision.scales_loss:
        if precision.amp_backend == "native":
            return NativeAmp(device)
        from .apex_amp import ApexAmp  # imports apex, which may not be installed

        return ApexAmp(precision.amp_level)
    return MixedPrecision("bf16-mixed", device) if precision.bf16 else Precision()


def matrix_dtype(plugin: Precision) -> torch.dtype | None:
    """Return the type in which mixed precision multiplies matrices; None: in the type of the weights."""
    return _MATRIX_DTYPES.get(plugin.precision)
