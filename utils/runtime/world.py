"""Find out how many processes work together, which of them this one is, and whether they use GPUs."""

import os
from dataclasses import dataclass

from bart.errors import InputError


@dataclass(frozen=True)
class WorldInfo:
    """The processes of a training: one per GPU, or processes on CPUs. Each machine runs equally many."""

    on_gpu: bool
    processes: int  # on all machines
    rank: int
    machines: int = 1

    @property
    def processes_per_machine(self) -> int:
        """Return the number of processes on each machine; on GPUs also that of the GPUs that each machine uses."""
        return self.processes // self.machines


def resolve_world(gpus: int | None, num_nodes: int | None = None) -> WorldInfo:
    """Combine what the flags ask for with the processes that a launcher has started.

    Args:
        gpus: GPUs to use on each machine; None takes one per started process, as far as there are GPUs.
        num_nodes: machines; None takes as many as the launcher uses.

    Raises:
        InputError: this machine has fewer GPUs, or the launcher started other processes than the flags ask for.
    """
    local = local_process_count()
    machines = process_count() // local
    if gpus is None:
        gpus = min(local, _gpu_count())
    check_gpus(gpus)

    if gpus > 0 and is_launched() and local != gpus:
        raise InputError(f"--gpus {gpus}: {local} processes were started on this machine; start one per GPU")
    if machines * local != process_count():
        raise InputError(
            f"{process_count()} processes were started, {local} on this machine: start equally many on each machine"
        )
    if num_nodes not in (None, machines):
        raise InputError(
            f"--num_nodes {num_nodes}: processes were started on {machines}; "
            f"start this with torchrun --nnodes {num_nodes} on each machine"
        )
    return WorldInfo(on_gpu=gpus > 0, processes=max(gpus, process_count()), rank=process_rank(), machines=machines)


def check_gpus(gpus: int) -> None:
    """Raise InputError if this machine has fewer GPUs."""
    present = _gpu_count()
    if gpus > present:
        raise InputError(f"--gpus {gpus}: this machine has {present}; give at most that many, 0 trains on the CPU")


def process_count() -> int:
    """Return how many processes torchrun or this program's launcher has started on all machines; 1 without a launcher.

    The environment says so, as for the other functions below: reading it needs no torch.
    """
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_process_count() -> int:
    """Return how many of the started processes are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", process_count()))


def process_rank() -> int:
    """Return the number of this process among all of them, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_process_rank() -> int:
    """Return the number of this process among those on this machine: the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_launched() -> bool:
    """Return whether a launcher has started this process, be it the only one."""
    return "WORLD_SIZE" in os.environ


def _gpu_count() -> int:
    import torch  # Takes seconds to import, and the entry points read the ranks above before they need it.

    return torch.cuda.device_count()
