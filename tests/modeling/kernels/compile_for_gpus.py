"""Compiles a kernel for GPUs on a machine without one, which finds what Triton's interpreter allows and they refuse.

In a process without TRITON_INTERPRET: python -m tests.modeling.kernels.compile_for_gpus MODULE, where ``MODULE`` has a
function ``variants()``.
"""

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

CAPABILITIES = 80, 90  # A100, and H100 and H200


@dataclass
class Variant:
    """A kernel, and the types of its arguments; what is not among them is a constant."""

    kernel: Any
    types: dict[str, str]  # "*bf16": a pointer, aligned to 16 bytes
    constants: dict[str, Any]
    warps: int = 4

    def compile(self, capability: int) -> Any:
        """Compile it for an NVIDIA GPU; the result has the listings and the numbers of registers."""
        names = self.kernel.arg_names
        signature = {name: self.types.get(name, "constexpr") for name in names}
        constants = {(names.index(name),): value for name, value in self.constants.items()}
        aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if signature[name][0] == "*"}
        source = ASTSource(self.kernel, signature, constants, aligned)
        return triton.compile(source, GPUTarget("cuda", capability, 32), {"num_warps": self.warps})


if __name__ == "__main__":
    for variant in importlib.import_module(sys.argv[1]).variants():
        for capability in CAPABILITIES:
            compiled = variant.compile(capability)
            print(variant.kernel.__name__, capability, "shared", compiled.metadata.shared, "bytes")
