"""Compiles kernels for a GPU that this machine does not have, as they would be compiled there.

Start it in a process without TRITON_INTERPRET: ``python -m tests.modeling.kernels.compiling 90`` prints, as JSON, what
each kernel of ``CALLS`` needs for GPUs of compute capability 9.0.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from bart.modeling.kernels.decode_attention import decode_attention

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def resources(kernel: triton.compiler.CompiledKernel) -> dict[str, int]:
    """Return registers and bytes of the stack, of each thread, and bytes of shared memory, of each program."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
        printed = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    usage = dict(part.split(":", 1) for part in printed.split() if ":" in part)
    return {"registers": int(usage["REG"]), "stack": int(usage["STACK"]), "shared": kernel.metadata.shared}


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


def attend(dtype: torch.dtype, mask: torch.Tensor | None, splits: int, head_size: int = 64) -> None:
    """Let 6 beams attend to 1024 keys, strided as in the model."""
    queries, keys = (torch.zeros(2, length, 4, head_size, dtype=dtype).transpose(1, 2) for length in (6, 1024))
    decode_attention(queries, keys, keys, mask, splits)


CALLS = {
    "beams and their source": lambda dtype: attend(dtype, torch.ones(2, 1, 1, 1024, dtype=torch.bool), 2),
    "beams and their tokens": lambda dtype: attend(dtype, torch.zeros(2, 1, 6, 1024, dtype=dtype), 1),
}


if __name__ == "__main__":
    found = {}
    for name, call in CALLS.items():
        for dtype in DTYPES:
            found[f"{name}, {dtype}"] = compile_for(int(sys.argv[1]), partial(call, dtype))
    print(json.dumps(found))
