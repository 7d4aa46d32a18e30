"""Compiles kernels for a GPU that this machine does not have, as their calls would compile them there.

Start it in a process without TRITON_INTERPRET: ``python -m tests.modeling.kernels.compiling 90 bfloat16`` prints, as
JSON, what each kernel of each call needs on GPUs of compute capability 9.0, with states of that type.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from bart.modeling.kernels import all_kernels as kernels
from tests.gpu.test_kernels import KERNELS, Case

ROWS = 8  # instead of thousands, which matter to no kernel


def resources(kernel: triton.compiler.CompiledKernel) -> dict[str, int]:
    """Return what a kernel needs.

    Registers and bytes of the stack, of each thread; bytes of shared memory, of each program; and whether it loads and
    stores 16 bytes at once (0 or 1).
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        printed = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    usage = dict(part.split(":", 1) for part in printed.split() if ":" in part)
    is_wide = all(f"{move}.global.v4" in kernel.asm["ptx"] for move in ("ld", "st"))
    numbers = {"registers": int(usage["REG"]), "stack": int(usage["STACK"]), "shared": kernel.metadata.shared}
    return numbers | {"is_wide": int(is_wide)}


def compile_for(capability: int, call: Callable[[], object]) -> dict[str, dict[str, int]]:
    """Make the call without launching its kernels; return the ``resources`` of each kernel by its name."""
    target = GPUTarget("cuda", capability, 32)
    stand_in = {"get_current_target": lambda: target, "get_current_device": lambda: capability}
    driver.set_active(SimpleNamespace(**stand_in, get_current_stream=lambda _: 0))
    found = {}
    run = JITFunction.run

    def compile_only(self: JITFunction, *args: object, **options: object) -> None:
        kernel = run(self, *args, **options | {"warmup": True})
        found[self.__name__] = resources(kernel)

    JITFunction.run = compile_only
    try:
        call()
    finally:
        JITFunction.run = run
    return found


def call_case(case: Case, dtype: torch.dtype) -> None:
    """Make the call of a test for GPUs, and its backward pass, on fewer rows. Nothing is computed."""
    shapes = [(min(shape[0], ROWS), shape[1]) if len(shape) == 2 else shape for shape in case.on_gpu]
    given = [torch.zeros(shape, dtype=dtype).requires_grad_(case.has_gradients) for shape in shapes]
    output = case.by_kernel(kernels, *given)
    if case.has_gradients:
        output.sum().backward()


def call_add_norm(dtype: torch.dtype, dropout: float, size: int = 1024, trains: bool = True) -> None:
    """End a sublayer, in training with the backward pass."""
    branch, residual = (torch.zeros(ROWS, size, dtype=dtype, requires_grad=trains) for _ in range(2))
    bias, weight, shift = torch.zeros(3, size).unbind()
    with torch.set_grad_enabled(trains):
        states = kernels.add_norm(branch, bias, residual, weight, shift, dropout, 1e-5, 2**62)
    if trains:
        states.sum().backward()


def call_cross_entropy(dtype: torch.dtype) -> None:
    """Compute the loss and its gradient, of BART's vocabulary."""
    labels = torch.zeros(ROWS, dtype=torch.long)
    kernels.cross_entropy(torch.zeros(ROWS, 50304, dtype=dtype), labels, 50265, 0.1, 1.0)


def call_extend_beams(dtype: torch.dtype, stops_when_full: bool) -> None:
    """End a step of a search of 2 sentences with 6 beams, of up to 62 tokens."""

    def of_beams(*last: int) -> Tensor:
        return torch.zeros(2, 6, *last, dtype=torch.long)

    def scores() -> Tensor:
        return torch.zeros(2, 6)

    state = kernels.BeamTensors(
        scores(), of_beams(62), of_beams(61), scores(), of_beams(62), of_beams(61), scores().bool(),
        torch.ones(2, 1, dtype=torch.bool), torch.ones(1, dtype=torch.long), torch.zeros(3, dtype=torch.bool),
        torch.zeros(2, 1, 6, 384, dtype=dtype),
    )  # fmt: skip
    rules = kernels.BeamRules(torch.tensor([2]), torch.ones(62), None, stops_when_full, 62, -1e9)
    candidates = torch.zeros(2, 12, dtype=torch.long)
    kernels.extend_beams(state, rules, torch.zeros(2, 12), candidates, candidates)


def calls(dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """The calls of tests/gpu, and the variants that it leaves to tests of whole models."""
    return {
        **{name: lambda case=case: call_case(case, dtype) for name, case in KERNELS.items()},
        "add_norm, dropout": lambda: call_add_norm(dtype, 0.1),
        "add_norm, BART-base": lambda: call_add_norm(dtype, 0.1, size=768),
        "add_norm, inference": lambda: call_add_norm(dtype, 0.0, trains=False),
        "cross_entropy, training": lambda: call_cross_entropy(dtype),
        "extend_beams": lambda: call_extend_beams(dtype, stops_when_full=False),
        "extend_beams, early stopping": lambda: call_extend_beams(dtype, stops_when_full=True),
    }


if __name__ == "__main__":
    capability, dtype = int(sys.argv[1]), getattr(torch, sys.argv[2])
    print(json.dumps({name: compile_for(capability, call) for name, call in calls(dtype).items()}))
