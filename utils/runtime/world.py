"""How many processes work together, which of them this is, and on what."""

import os
from dataclasses import dataclass
from typing import TypeVar

from bart.errors import InputError

# Torch takes seconds to import, so the functions do it: who only asks for the rank need not wait.

Value = TypeVar("Value")


@dataclass(frozen=True)
class WorldInfo:
    """Where a training runs: one process per GPU, or processes on CPUs; as many on each machine."""

    on_gpu: bool
    processes: int  # on all machines
    rank: int
    machines: int = 1

    @property
    def processes_per_machine(self) -> int:
        """Also the number of its GPUs that are used."""
        return self.processes // self.machines


def resolve_world(gpus: int | None, num_nodes: int | None = None) -> WorldInfo:
    """GPUs of each machine as asked for, or one per process where they are; the processes that torchrun started, or
    those that will be.

    Raises InputError where there are fewer GPUs, or where other processes were started than were asked for.
    """
    import torch

    local = local_process_count()
    machines = process_count() // local
    if gpus is None:
        gpus = min(local, torch.cuda.device_count())
    check_gpus(gpus)
    if gpus > 0 and is_launched() and local != gpus:
        raise InputError(f"--gpus {gpus}: {local} processes were started on this machine; start one per GPU")
    if machines * local != process_count():
        raise InputError(f"{process_count()} processes were started, {local} on this machine: start as many on each")
    if num_nodes not in (None, machines):
        raise InputError(
            f"--num_nodes {num_nodes}: processes were started on {machines}; "
            f"start this with torchrun --nnodes {num_nodes} on each machine"
        )
    return WorldInfo(on_gpu=gpus > 0, processes=max(gpus, process_count()), rank=process_rank(), machines=machines)


def check_gpus(gpus: int) -> None:
    """Raise InputError where this machine has fewer."""
    import torch

    present = torch.cuda.device_count()
    if gpus > present:
        raise InputError(f"--gpus {gpus}: this machine has {present}; give at most that many, 0 trains on the CPU")


def process_count() -> int:
    """Processes, on all machines, that torchrun (or this program, for more than one GPU) has started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_process_count() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))


def process_rank() -> int:
    """The number of this process among them."""
    return int(os.environ.get("RANK", "0"))


def local_process_rank() -> int:
    """The number of this process among those on this machine: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_launched() -> bool:
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


def leave_process_group() -> None:
    """Called when nothing more is done together: a process that exits as a member may be aborted by its threads."""
    import torch.distributed

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
