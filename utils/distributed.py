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
    """Where a training runs: one process per GPU, or processes on CPUs; as many on each machine."""

    on_gpu: bool
    processes: int  # on all machines
    rank: int
    machines: int = 1

    @property
    def processes_per_machine(self) -> int:
        """Also the number of its GPUs that are used."""
        return self.processes // self.machines


def choose_placement(gpus: int | None, num_nodes: int | None = None) -> Placement:
    """GPUs of each machine as asked for, or one per process where they are; the processes that torchrun started, or
    those that will be.

    Raises InputError where there are fewer GPUs, or where other processes were started than were asked for.
    """
    import torch

    present, local = torch.cuda.device_count(), local_process_count()
    machines = process_count() // local
    if gpus is None:
        gpus = min(local, present)
    if gpus > present:
        raise InputError(f"--gpus {gpus}: this machine has {present}; give at most that many, 0 trains on the CPU")
    if gpus > 0 and "WORLD_SIZE" in os.environ and local != gpus:
        raise InputError(f"--gpus {gpus}: {local} processes were started on this machine; start one per GPU")
    if machines * local != process_count():
        raise InputError(f"{process_count()} processes were started, {local} on this machine: start as many on each")
    if num_nodes not in (None, machines):
        raise InputError(
            f"--num_nodes {num_nodes}: processes were started on {machines}; "
            f"start this with torchrun --nnodes {num_nodes} on each machine"
        )
    return Placement(on_gpu=gpus > 0, processes=max(gpus, process_count()), rank=process_rank(), machines=machines)


def process_count() -> int:
    """Processes, on all machines, that torchrun (or Lightning, for more than one GPU) has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_process_count() -> int:
    """How many of them are on this machine; Lightning starts them on one alone, and sets WORLD_SIZE alone."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))


def process_rank() -> int:
    """The number of this process among them; Lightning sets LOCAL_RANK alone."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def local_process_rank() -> int:
    """The number of this process among those on its machine, and so of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


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
