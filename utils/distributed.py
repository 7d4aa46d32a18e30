"""How many processes work together, which of them this is, and on what."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bart.errors import InputError

# Torch takes seconds to import, so the functions do it: who only asks for the rank need not wait.

Value = TypeVar("Value")


@dataclass(frozen=True)
class Placement:
    """Where a training runs: one process per GPU, or processes on CPUs."""

    on_gpu: bool
    processes: int
    rank: int


def choose_placement(gpus: int | None) -> Placement:
    """GPUs as asked for, or one where there is one; the processes that torchrun started, or those that will be.

    Raises InputError where there are fewer GPUs.
    """
    import torch

    present = torch.cuda.device_count()
    if gpus is None:
        gpus = min(1, present)
    if gpus > present:
        raise InputError(f"--gpus {gpus}: this machine has {present}; give at most that many, 0 trains on the CPU")
    if gpus > 0 and process_count() not in (1, gpus):
        raise InputError(f"--gpus {gpus}: {process_count()} processes were started; start one per GPU")
    return Placement(on_gpu=gpus > 0, processes=max(gpus, process_count()), rank=process_rank())


def process_count() -> int:
    """Processes that torchrun (or Lightning, for more than one GPU) has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """The number of this process among them; Lightning sets LOCAL_RANK alone."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def process_group() -> Iterator[None]:
    """Let the processes that torchrun started talk to each other; does nothing for one."""
    if process_count() == 1:
        yield
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo")  # on CPUs: what is gathered is text
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def gather_to_first(value: Value, processes: int) -> list[Value] | None:
    """The values of all processes, by rank, on the first one; None on the others. Needs ``process_group``."""
    if processes == 1:
        return [value]
    import torch.distributed

    values = [value] * processes if process_rank() == 0 else None
    torch.distributed.gather_object(value, values)
    return values
