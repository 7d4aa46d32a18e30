"""What this machine has."""

import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "pytorch-lightning", "transformers", "tokenizers", "safetensors", "numpy", "rouge-score", "nltk")


def processor_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe_machine() -> str:
    """Processor or GPUs, cores, Python and torch, in a line for reports."""
    import torch

    gpus = torch.cuda.device_count()
    name = f"{gpus} x {torch.cuda.get_device_name(0)}" if gpus else _processor_name()
    return f"{name}, {processor_cores()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def git_commit() -> str | None:
    """The commit that is checked out; None without git, in an unpacked archive, or if this is installed.

    The environment may lie within the checkout of another project: git is asked for this file too, and fails if the
    commit does not have it.
    """
    file = Path(__file__)
    command = ["git", "-C", str(file.parent), "rev-parse", "HEAD", f"HEAD:./{file.name}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def software() -> dict[str, Any]:
    """The versions and the commit that results depend on, for reports."""
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return {"versions": {"python": platform.python_version(), **versions}, "git_commit": git_commit()}


def cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself. True where torch cannot tell."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # public only in later versions
    checks = [getattr(torch.cpu, name) for name in names if hasattr(torch.cpu, name)]
    return platform.machine() != "x86_64" or not checks or any(check() for check in checks)


def precision_plan() -> Iterator[str]:
    """For a benchmark: ``run GPUS PRECISION`` or ``skip GPUS PRECISION REASON``, the fastest precision first."""
    import torch

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
    has_ampere = torch.cuda.get_device_capability()[0] >= 8
    counts = [1]
    while counts[-1] * 2 <= gpus:
        counts.append(counts[-1] * 2)
    for count in counts:
        yield f"run {count} fp16"
        for precision in ("bf16", "tf32"):
            if has_ampere:
                yield f"run {count} {precision}"
            else:
                yield f"skip {count} {precision} as this GPU has it not (Ampere and later have)"
        yield f"run {count} fp32"


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
