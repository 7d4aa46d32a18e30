"""Number formats: how training computes, and in what a model is evaluated."""

import torch

from bart.errors import InputError
from utils.args import SharedArguments


def check_precision(arguments: SharedArguments, on_gpu: bool) -> None:
    """Raise InputError where this machine has not the precision that was asked for."""
    if arguments.fp16 and not on_gpu:
        raise InputError("--fp16: needs a GPU; on a CPU give --bf16 or neither")
    if arguments.tf32 and not on_gpu:
        raise InputError("--tf32: is a mode of GPUs; leave it away on a CPU")
    if arguments.bf16 and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("--bf16: this GPU has no bfloat16 (Ampere and later have); give --fp16")


def apply_matmul_precision(arguments: SharedArguments) -> None:
    """Let float32 matrix products on the GPU use TF32, or not: torch's default has changed over time."""
    torch.set_float32_matmul_precision("high" if arguments.tf32 else "highest")


def evaluation_dtype(arguments: SharedArguments) -> torch.dtype:
    """The type that weights are cast to for generation: no gradients need the float32 ones."""
    if arguments.fp16:
        return torch.float16
    return torch.bfloat16 if arguments.bf16 else torch.float32


def precision_name(arguments: SharedArguments) -> str:
    """fp16, bf16, tf32 or fp32, as in the scripts and the reports."""
    return next((name for name in ("fp16", "bf16", "tf32") if getattr(arguments, name)), "fp32")
