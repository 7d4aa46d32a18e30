"""Number formats: how training computes, and in what a model is evaluated."""

import torch

from bart.errors import InputError
from utils.cli.args import SharedArguments, TrainingArguments
from utils.runtime.apex_package import HOW_TO_GET_AMP, why_no_amp
from utils.runtime.hardware import cpu_has_bfloat16
from utils.runtime.world import process_rank

_BACKENDS = {"apex": "apex's mixed precision", "native": "torch's own mixed precision"}


def check_precision(arguments: SharedArguments, on_gpu: bool) -> None:
    """Raise InputError where this machine has not the precision that was asked for; warn where it only imitates it."""
    if arguments.fp16 and not on_gpu:
        raise InputError("--fp16: needs a GPU; on a CPU give --bf16, or no such flag (PREC fp32) for float32")
    if arguments.tf32 and not on_gpu:
        raise InputError("--tf32: is a mode of GPUs; leave it away on a CPU")
    if arguments.tf32 and torch.cuda.get_device_capability() < (8, 0):
        raise InputError("--tf32: this GPU has no TF32 (Ampere and later have); leave it away")
    if arguments.bf16 and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError("--bf16: this GPU has no bfloat16 (Ampere and later have); give --fp16")
    if arguments.bf16 and not on_gpu and not cpu_has_bfloat16() and process_rank() == 0:
        print("warning: --bf16: this CPU has no instructions for it: many times slower than float32", flush=True)


def choose_amp_backend(arguments: TrainingArguments, processes: int) -> str | None:
    """Put what ``auto`` comes to into ``arguments``; returns a line that says which backend it is and why.

    None where there is no mixed precision in float16. Raises InputError where what was asked for is not there.
    """
    if not arguments.fp16 or arguments.amp_level == "O0":
        return None
    why_not_apex = "--amp_backend native was given" if arguments.amp_backend == "native" else why_no_amp()
    if arguments.amp_backend == "apex" and why_not_apex is not None:
        raise InputError(f"--amp_backend apex: {why_not_apex} ({HOW_TO_GET_AMP}); or give --amp_backend native")
    arguments.amp_backend = "apex" if why_not_apex is None else "native"
    if arguments.amp_backend == "apex" and arguments.amp_level == "O1":
        for flag in ("gradient_checkpointing", "compile"):
            if getattr(arguments, flag):  # its casts are patches that are active in the forward pass alone
                raise InputError(f"--{flag}: apex.amp's level O1 does not go with it; give --amp_backend native")
    if arguments.amp_level == "O2":
        if why_not_apex is not None:
            raise InputError(f"--amp_level O2: needs apex.amp, but {why_not_apex}; give --amp_level O1")
        if processes > 1:  # DDP has laid out its gradients by then
            raise InputError("--amp_level O2: on one GPU alone; give --amp_level O1 for several")
    why = why_not_apex or "apex.amp is installed"
    return f"fp16: {_BACKENDS[arguments.amp_backend]}, level {arguments.amp_level} ({why})"


def scales_loss(arguments: TrainingArguments) -> bool:
    """Whether a loss scaler leaves out steps whose gradients overflow."""
    return arguments.fp16 and arguments.amp_level != "O0"


def is_mixed(arguments: TrainingArguments) -> bool:
    """Whether matrix products are computed in 16 bits, with float32 weights."""
    return arguments.bf16 or scales_loss(arguments)


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
