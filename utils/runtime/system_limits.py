"""Recognize that a limit of the system is reached: say which one, and how to raise it."""

import errno
import multiprocessing
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Lock

from bart.errors import InputError

_SHARED_MEMORY = "/dev/shm"
_FEW_INODES = 16
# Messages of plain RuntimeErrors, of threading and of torch.
_NO_FILES = ("Too many open files",)
_NO_PROCESSES = ("can't start new thread", "Resource temporarily unavailable")


class LimitReached(InputError):
    """Raised if a limit of the system is reached. Of several processes, each one that reaches it reports it."""


@contextmanager
def limit_named(name: str, advice: str) -> Iterator[None]:
    """Raise LimitReached if a limit is reached within the block.

    Args:
        name: What needs so much, such as a flag and its value; the message begins with it.
        advice: What to do other than to raise the limit; the message ends with it.
    """
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        if (limit := limit_reached(error)) is None:
            raise
        raise LimitReached(f"{name}: {limit}, or {advice}") from error


def check_room_for_processes(count: int) -> None:
    """Use all that so many processes and the queues to them will need, and free it again.

    Processes of which some cannot start are hard to end, and what is lost between them is waited for without an end.

    Raises:
        OSError: There are too few descriptors, or there is too little shared memory for the semaphores.
        RuntimeError: There are too few processes and threads, which count alike.
    """
    descriptors: list[int] = []
    semaphores: list[Lock] = []  # of the frame, so that ``limit_reached`` still finds the shared memory full
    threads: list[threading.Thread] = []
    is_over = threading.Event()
    # Semaphores for other ways of starting processes have Python's resource tracker started, here open to any signal.
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(5 * count + 16):
            descriptors.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(3 * count + 10):
            semaphores.append(context.Lock())
        for _ in range(3 * count + 3):
            thread = threading.Thread(target=is_over.wait)
            thread.start()
            threads.append(thread)
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        for descriptor in descriptors:
            os.close(descriptor)


def limit_reached(error: BaseException | None) -> str | None:
    """Return the limit that an error or one of its causes comes from, and how to raise it; None if it is another error.

    What is full must still be full: call this while ``error`` is handled.
    """
    while error is not None:
        if (limit := _limit(error)) is not None:
            return limit
        error = error.__cause__
    return None


def _limit(error: BaseException) -> str | None:
    if _is_out_of_memory(error):
        return _of_memory()
    number = error.errno if isinstance(error, OSError) else None
    text = str(error) if isinstance(error, RuntimeError) else ""
    if number == errno.EMFILE or any(message in text for message in _NO_FILES):
        return f"no more than {_soft(resource.RLIMIT_NOFILE)} files can be open at once: raise this limit (ulimit -n)"
    if number == errno.ENFILE:
        return "all programs together have too many open files: raise this limit (sysctl fs.file-max)"
    # A write that would block has the same number, and another text.
    is_refused = number == errno.EAGAIN and error.strerror == os.strerror(errno.EAGAIN)
    if is_refused or any(message in text for message in _NO_PROCESSES):
        return (
            "no more processes and threads can be started: raise this limit "
            f"(ulimit -u, now {_soft(resource.RLIMIT_NPROC)}; of a container, --pids-limit)"
        )
    if number == errno.ENOSPC:
        return _of_shared_memory() if error.filename is None else _of_disk(os.fsdecode(error.filename))
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, ImportError):
        return "failed to map segment" in str(error)  # of a library, when the address space is full
    if "torch" not in sys.modules:
        return isinstance(error, MemoryError)
    from bart.out_of_memory import is_out_of_memory  # imports torch, which takes seconds

    return is_out_of_memory(error)


def _of_memory() -> str:
    limit = _soft(resource.RLIMIT_AS)
    if limit == "unlimited":
        return "out of memory: take a machine or a GPU with more, or a smaller model"
    return f"out of memory: the address space has {int(limit) / 1e9:.1f} GB: raise this limit (ulimit -v)"


def _of_shared_memory() -> str | None:
    """Return None if there is room: then it is a disk that is full."""
    try:
        state = os.statvfs(_SHARED_MEMORY)
    except OSError:
        return None
    size = f"{state.f_blocks * state.f_frsize / 1e6:.1f} MB in all"
    if state.f_bavail == 0:
        return f"the shared memory {_SHARED_MEMORY} is full ({size}): enlarge it (of a container, --shm-size)"
    if state.f_files > 0 and state.f_favail <= 2:  # a semaphore needs two of them for a moment
        return f"the shared memory {_SHARED_MEMORY} has no inode left (df -i): mount it with more"
    return None


def _of_disk(path: str) -> str | None:
    """Return None if its bytes ran out: then the system's own message says all."""
    try:
        state = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return None
    # Some files, such as a lock, may have been deleted since.
    has_bytes, has_inodes = state.f_bavail > 0, state.f_files == 0 or state.f_favail > _FEW_INODES
    return None if has_inodes or not has_bytes else "there is room, but no inode left (df -i): delete files"


def _soft(limit: int) -> str:
    soft, _ = resource.getrlimit(limit)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
