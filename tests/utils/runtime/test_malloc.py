"""Count the page faults and the memory of a process of its own, so that this one does not keep its memory, too."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from utils.runtime.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
size = 50_000_000
for _ in range(20):
    b"x" * size
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""

PROGRAM_OF_TRIMS = """
from pathlib import Path
from utils.runtime import malloc
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
malloc.keep_freed_memory()
freed = malloc.FreedMemory()
b"x" * 100_000_000
kept = resident()
freed.trim_if_due()
too_soon = resident()
malloc._SECONDS_BETWEEN_TRIMS = 0
freed.trim_if_due()
print(kept, too_soon, resident())
"""

PROGRAM_OF_SHAPES = """
import sys
from pathlib import Path
import torch
from utils.runtime.malloc import limit_primitive_cache
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])
if sys.argv[1] == "limit":
    limit_primitive_cache()
torch.set_num_threads(1)
def run(shapes):
    for rows in shapes:
        torch.nn.functional.gelu(torch.ones(rows, 8, requires_grad=True)).sum().backward()
run(range(1, 100))
before = resident()
run(range(100, 900))
print(resident() - before)
"""


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc's setting")
def test_pages_are_touched_once() -> None:
    """Allocate 50 MB twenty times: 240,000 pages of 4 KB. Blocks of up to 32 MB glibc learns to keep by itself."""
    assert page_faults("keep") < page_faults("as it is") / 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc's setting")
def test_memory_is_given_back_now_and_then() -> None:
    """Free 100 MB, of pages of 4 KB. The kernel counts resident pages to within some dozens."""
    run = subprocess.run([sys.executable, "-c", PROGRAM_OF_TRIMS], capture_output=True, text=True, check=True)
    kept, too_soon, trimmed = map(int, run.stdout.split())
    assert too_soon > kept - 1_000 and trimmed < kept - 20_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it reads /proc")
def test_new_shapes_take_little_memory() -> None:
    """Run small operations of 800 shapes; in pages of 4 KB."""
    grown = {
        how: int(subprocess.run([sys.executable, "-c", PROGRAM_OF_SHAPES, how], capture_output=True, check=True).stdout)
        for how in ("as it is", "limit")
    }
    assert grown["limit"] < grown["as it is"] / 2
