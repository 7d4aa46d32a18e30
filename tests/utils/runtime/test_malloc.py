"""Count the page faults of a process of its own, so that this one does not keep its memory, too."""

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


def page_faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it is glibc's setting")
def test_pages_are_touched_once() -> None:
    """Allocate 50 MB twenty times: 240,000 pages of 4 KB. Blocks of up to 32 MB glibc learns to keep by itself."""
    assert page_faults("keep") < page_faults("as it is") / 3
