"""A profile by torch.profiler: the longest kernels, the number of launches, and the time without a kernel."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

_LONGEST = 25
_NAME = 110  # characters of a kernel's name


@contextmanager
def profiled(device: str, repetitions: int, tell: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Profile the block, which does something ``repetitions`` times, and tell the figures of one time.

    On the CPU its operations stand for kernels.
    """
    on_gpu = device == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as recorded:
        _wait(on_gpu)
        start = time.perf_counter()
        yield
        _wait(on_gpu)
        seconds = time.perf_counter() - start
    tell(summary(recorded, seconds, repetitions, on_gpu))


def summary(recorded: Any, seconds: float, repetitions: int, on_gpu: bool) -> dict[str, Any]:
    """Return milliseconds and launches of one repetition, kernel by kernel.

    The host's share is the part of the time in which no kernel ran; kernels of one stream do not overlap.
    """
    events = recorded.key_averages()
    kernels = [
        (_kernel_time(event) if on_gpu else event.self_cpu_time_total, event.count, event.key[:_NAME])
        for event in events
        if not on_gpu or str(event.device_type).endswith("CUDA")
    ]
    in_all = sum(time for time, _, _ in kernels)
    host = sorted(((event.self_cpu_time_total, event.count, event.key[:_NAME]) for event in events), reverse=True)
    return {
        "milliseconds": seconds * 1e3 / repetitions,
        "device_milliseconds": in_all / 1e3 / repetitions,
        "launches": sum(count for _, count, _ in kernels) / repetitions,
        "host_share": max(0.0, 1 - in_all / 1e6 / seconds),
        "longest": _lines(sorted(kernels, reverse=True)[:_LONGEST], repetitions),
        "host": _lines(host[:10], repetitions),
    }


def _kernel_time(event: Any) -> float:
    return float(getattr(event, "self_device_time_total", 0.0))


def _lines(found: list[tuple[float, int, str]], repetitions: int) -> list[str]:
    """Write a line for each kernel: milliseconds and launches of one repetition, its name."""
    return [f"{time / 1e3 / repetitions:9.3f} ms {count / repetitions:8.1f} {name}" for time, count, name in found]


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()
