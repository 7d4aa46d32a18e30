"""The real compiler takes what Triton's interpreter runs in the other tests: it allows less."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bart.modeling.kernels import all_kernels

# Kernels whose time is that of the memory, so that a thread must read and write as much as it can at once.
WIDE = {
    "_add_norm", "_add_norm_backward", "_attend", "_bias_gelu", "_bias_gelu_backward", "_cross_entropy", "_join",
}  # fmt: skip
HELPERS = {"BeamRules", "BeamTensors", "can_choose", "can_extend", "suits_decode_attention"}  # no kernels


def compiled(capability: int, dtype: str, cache: Path) -> dict[str, dict[str, dict[str, int]]]:
    """What the kernels of each call need, on GPUs that are not here."""
    variables = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    variables["TRITON_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-m", "tests.modeling.kernels.compiling", str(capability), dtype]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(found: dict[str, dict[str, dict[str, int]]]) -> None:
    assert {name.split(",")[0] for name in found} == set(all_kernels.__all__) - HELPERS
    wide = {name for kernels in found.values() for name, needed in kernels.items() if needed["is_wide"]}
    assert wide >= WIDE
    for name, kernels in found.items():
        assert kernels, f"{name} calls no kernel"
        for needed in kernels.values():
            assert needed["stack"] <= 32, name  # bytes: registers suffice, but for a few
            assert needed["shared"] <= 99 * 1024, name  # what the smallest GPU since Ampere has


def test_for_an_h100(tmp_path: Path) -> None:
    check(compiled(90, "bfloat16", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("capability", "dtype"), [(80, "bfloat16"), (80, "float16"), (90, "float16"), (90, "float32")])
def test_for_others(capability: int, dtype: str, tmp_path: Path) -> None:
    check(compiled(capability, dtype, tmp_path))
