"""How many programs of a kernel share its rows, if each handles many."""

from functools import cache

import torch

_ON_CPU = 3  # in Triton's interpreter


def persistent_programs(device: torch.device, per_multiprocessor: int, most: int) -> int:
    """Return how many programs a device runs at once, at least one and at most ``most``."""
    return max(1, min(most, _multiprocessors(device) * per_multiprocessor if device.type == "cuda" else _ON_CPU))


@cache
def _multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
