"""How many processes work together, which of them this is, and on what."""

import os
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

    if gpus is None:
        gpus = min(1, torch.cuda.device_count())
    check_gpus(gpus)
    if gpus > 0 and process_count() not in (1, gpus):
        raise InputError(f"--gpus {gpus}: {process_count()} processes were started; start one per GPU")
    return Placement(on_gpu=gpus > 0, processes=max(gpus, process_count()), rank=process_rank())


def check_gpus(gpus: int) -> None:
    """Raise InputError where this machine has fewer."""
    import torch

    present = torch.cuda.device_count()
    if gpus > present:
        raise InputError(f"--gpus {gpus}: this machine has {present}; give at most that many, 0 trains on the CPU")


def process_count() -> int:
    """Processes that torchrun (or this program, for more than one GPU) has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """The number of this process among them."""
    return int(os.environ.get("RANK", "0"))


def local_process_rank() -> int:
    """The number of this process among those on this machine: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_process_count() -> int:
    """Processes that have been started on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))


def are_started() -> bool:
    """Whether torchrun, or this program, has started the processes of this run, if only one."""
    return "WORLD_SIZE" in os.environ


def own_of_gathered(values: list[Value]) -> Value:
    """What this process gave to ``gather_from_all`` in the run that is resumed.

    Raises InputError where that had another number of processes.
    """
    if len(values) != process_count():
        raise InputError(f"--resume: the run has {len(values)} processes; give it as many (see --gpus)")
    return values[process_rank()]


def gather_from_all(value: Value) -> list[Value]:
    """The values of all processes, by rank. Needs a process group where there are several."""
    import torch.distributed

    if not torch.distributed.is_initialized():
        return [value]
    values = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
