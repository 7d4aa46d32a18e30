"""Describe this machine for reports, and list the precisions that it can compute in."""

import platform
from collections.abc import Iterator

import torch

from bart.errors import InputError

from .processor import processor_cores, processor_name


def describe_machine() -> str:
    """Name the processor or the GPUs, the number of cores, and the versions of Python and torch, in one line."""
    gpus = torch.cuda.device_count()
    name = f"{gpus} x {torch.cuda.get_device_name(0)}" if gpus else processor_name()
    return f"{name}, {processor_cores()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def device_of_one_process(name: str) -> str:
    """Return ``cpu`` or ``cuda`` for a --device. Raises InputError if a GPU is asked for and there is none."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no GPU that torch can use; give cpu or auto")
    return name


def cpu_has_bfloat16() -> bool:
    """Return whether the processor has instructions that multiply bfloat16. True if torch cannot tell."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # public only in later versions
    checks = [getattr(torch.cpu, name) for name in names if hasattr(torch.cpu, name)]
    return platform.machine() != "x86_64" or not checks or any(check() for check in checks)


def precision_plan() -> Iterator[str]:
    """Yield what a benchmark should measure here, the fastest precision first.

    A line is ``run GPUS PRECISION``, or ``skip GPUS PRECISION REASON``.
    """
    gpus = torch.cuda.device_count()
    if gpus == 0:
        if cpu_has_bfloat16():
            yield "run 0 bf16"
        else:
            yield "skip 0 bf16 as this processor computes without bf16 instructions"
        yield "run 0 fp32"
        for precision in ("fp16", "tf32"):
            yield f"skip 0 {precision} as there is no GPU"
        return

    # One GPU, and every power of two that this machine has.
    counts = [1]
    while counts[-1] * 2 <= gpus:
        counts.append(counts[-1] * 2)

    has_ampere = torch.cuda.get_device_capability()[0] >= 8
    for count in counts:
        yield f"run {count} fp16"
        for precision in ("bf16", "tf32"):
            if has_ampere:
                yield f"run {count} {precision}"
            else:
                yield f"skip {count} {precision} as this GPU does not have it (Ampere and later do)"
        yield f"run {count} fp32"
