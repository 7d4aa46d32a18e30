"""Number formats by name (fp16, bf16, tf32, fp32): which a machine supports, and which evaluation computes in."""

import torch

from bart.errors import InputError

from .hardware import cpu_has_bfloat16
from .world import process_rank


def check_precision(precision: str, on_gpu: bool) -> None:
    """Raise InputError if this machine does not support the precision; warn if it only emulates it."""
    if precision == "fp16" and not on_gpu:
        raise InputError("--fp16: needs a GPU; on a CPU give --bf16, or no such flag (PREC fp32) for float32")
    if precision == "tf32" and not on_gpu:
        raise InputError("--tf32: is a mode of GPUs; leave it out on a CPU")
    if precision == "tf32" and torch.cuda.get_device_capability() < (8, 0):
        raise InputError("--tf32: this GPU has no TF32 (GPUs from Ampere on have it); leave it out")
    if precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("--bf16: this GPU has no bfloat16 (GPUs from Ampere on have it); give --fp16")
    if precision == "bf16" and not on_gpu and not cpu_has_bfloat16() and process_rank() == 0:
        print("warning: --bf16: this CPU has no instructions for it: many times slower than float32", flush=True)


def apply_matmul_precision(precision: str) -> None:
    """Allow TF32 in float32 matrix products on GPUs, or forbid it: torch's default has changed over time."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def evaluation_dtype(precision: str) -> torch.dtype:
    """Return the type to cast weights to for generation, which needs no float32 weights for gradients."""
    return {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
