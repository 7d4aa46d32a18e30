import os
import sys

import pytest

from utils.runtime.cpu_affinity import bind_to_gpu_cores, cores_in


def test_masks_of_words() -> None:
    assert cores_in([0b1011, 0, 1 << 63]) == {0, 1, 3, 191}
    assert cores_in([]) == set()


def test_without_what_it_needs_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is missing, or is something else."""
    before = os.sched_getaffinity(0)
    for library in (None, object()):
        monkeypatch.setitem(sys.modules, "pynvml", library)
        bind_to_gpu_cores(0)
        assert os.sched_getaffinity(0) == before
