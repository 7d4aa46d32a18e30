"""Choose the device and the precision of a summarizer."""

import sys

import torch

from bart.errors import InputError

from ..cli.shared_args import QUANTIZATIONS
from ..cli.summarize_args import PRECISIONS
from ..runtime.hardware import cpu_has_bfloat16, device_of_one_process


def choose_device(name: str | torch.device) -> torch.device:
    """Return the device of that name; ``auto`` is a GPU if there is one.

    Raises:
        InputError: There is no such device, or torch cannot use it.
    """
    try:
        device = torch.device(device_of_one_process(str(name)))
    except RuntimeError:
        device = torch.device("meta")
    gpus = torch.cuda.device_count()
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: give cpu, cuda, cuda:N or auto")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise InputError(f"--device {name}: this machine has {gpus} GPUs that torch can use; give cpu or auto")
    return device


def choose_precision(name: str, quantization: str | None, device: torch.device) -> str:
    """Return ``fp32``, ``bf16``, ``fp16`` or ``tf32``; ``auto`` is bf16 on a GPU that has it, fp16 on another.

    Raises:
        InputError: The device does not have it, or it contradicts the quantization.
    """
    on_gpu = device.type == "cuda"
    if name not in PRECISIONS:
        raise InputError(f"--precision {name}: give one of {', '.join(PRECISIONS)}")
    if quantization is not None:
        if quantization not in QUANTIZATIONS:
            raise InputError(f"--quantization {quantization}: give one of {', '.join(QUANTIZATIONS)}")
        if on_gpu:
            raise InputError(f"--quantization {quantization}: is for the CPU; on a GPU give --precision bf16 or fp16")
        if name not in ("auto", "fp32"):
            raise InputError(f"--quantization {quantization} and --precision {name} exclude each other; give one")

    has_bfloat16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "auto":
        return ("bf16" if has_bfloat16 else "fp16") if on_gpu else "fp32"
    if name in ("fp16", "tf32") and not on_gpu:
        raise InputError(f"--precision {name}: needs a GPU; on a CPU give fp32 or bf16")
    if name == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
        raise InputError("--precision tf32: this GPU has no TF32 (GPUs from Ampere on have it); give fp32 or fp16")
    if name == "bf16" and on_gpu and not has_bfloat16:
        raise InputError("--precision bf16: this GPU has no bfloat16 (GPUs from Ampere on have it); give fp16")
    if name == "bf16" and not on_gpu and not cpu_has_bfloat16():
        text = "warning: --precision bf16: this CPU has no instructions for it: many times slower than float32"
        print(text, file=sys.stderr, flush=True)
    return name
