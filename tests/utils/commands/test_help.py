"""Sees that programs answer --help at once: they import what is slow only when they begin to work."""

import subprocess
import sys

import pytest

from tests.commands import ROOT

PROGRAMS = sorted(
    f"utils.{path.parent.name}.{path.stem}"
    for room in ("commands", "corpora")
    for path in (ROOT / "utils" / room).glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)
WITH_HELP = """
import runpy, sys
name = sys.argv[1]
sys.argv[1:] = ["--help"]
try:
    runpy.run_module(name, run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code
print("slow:", *{"torch", "transformers", "pytorch_lightning", "gdown"} & sys.modules.keys())
"""


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_slow_is_imported(program: str) -> None:
    process = subprocess.run(
        [sys.executable, "-c", WITH_HELP, program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert process.stdout.startswith("usage: "), process.stderr
    assert process.stdout.endswith("\nslow:\n"), process.stdout
