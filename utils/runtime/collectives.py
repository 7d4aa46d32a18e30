"""Exchange of Python values between the processes of a run."""

from typing import TypeVar

from torch import distributed

from bart.errors import InputError

from .world import process_count, process_rank

Value = TypeVar("Value")


def gather_from_all(value: Value) -> list[Value]:
    """Return the values of all processes, by rank. Several processes need a process group."""
    if not distributed.is_initialized():
        return [value]
    values = [value] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def own_of_gathered(values: list[Value]) -> Value:
    """Pick the value that this process gave to ``gather_from_all`` in the run that it resumes.

    Raises:
        InputError: that run had another number of processes.
    """
    check_same_count(len(values), process_count())
    return values[process_rank()]


def check_same_count(before: int, now: int) -> None:
    """Raise InputError if a run that is resumed had another number of processes before."""
    if before != now:
        raise InputError(
            f"--resume: the interrupted run had {before} processes, this one has {now}; start {before} (see --gpus)"
        )


def leave_process_group() -> None:
    """Leave the process group after the last common work: its threads may abort a process that exits as a member."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
