"""A lock that lets one run at a time use a results folder."""

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from bart.errors import InputError

LOCK_FILE = ".lock"
_SECONDS_TO_WAIT = 3.0  # for a process that was killed a moment ago to disappear
_SECONDS_BETWEEN_TRIES = 0.1


class FolderLock:
    """A lock on a folder, for a ``with`` block. If the folder does not exist yet, ``hold`` takes the lock later.

    The kernel frees the lock when the process ends, however it ends. It is flock's: NFS shares it between machines
    unless it is mounted with local locks. On a file system without locks a warning is printed, and no run is refused.
    """

    def __init__(self, folder: Path, name: str, is_holder: bool = True) -> None:
        """Prepare the lock.

        Args:
            folder: the folder to lock.
            name: of the flag or argument that names the folder, for messages.
            is_holder: whether this process takes the lock: only one of several that work together does.
        """
        self.folder = folder
        self.name = name
        self.is_holder = is_holder
        self._descriptors: list[int] = []  # one while the lock is held, else none

    def __enter__(self) -> "FolderLock":
        if self.folder.is_dir() and os.access(self.folder, os.W_OK):
            self.hold()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptors:
            (self.folder / LOCK_FILE).unlink(missing_ok=True)
            self._release()

    def hold(self) -> bool:
        """Take the lock of a folder that exists by now.

        Returns:
            False if this process holds the lock already or is not the holder, else True.

        Raises:
            InputError: another process holds the lock.
        """
        if self._descriptors or not self.is_holder:
            return False
        descriptor = _lock(self.folder / LOCK_FILE, f"{self.name} {self.folder}")
        if descriptor is not None:
            self._descriptors.append(descriptor)
            # Forked data workers outlive this process for some seconds; without this they would keep the lock.
            os.register_at_fork(after_in_child=self._release)
        return True

    def _release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def _lock(path: Path, name: str) -> int | None:
    """Lock the file and write the holder's name into it.

    Returns:
        The descriptor of the file; None if the file system has no locks.
    """
    give_up = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        descriptor = None
        try:
            # Take the lock. Its last holder may have deleted the file meanwhile; then lock a new one.
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_in_folder(path, descriptor):
                with suppress(OSError):  # on a full disk the lock names no holder
                    os.truncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
            os.close(descriptor)
        except BlockingIOError:
            # Another process holds the lock: try again for some seconds, then refuse.
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
            os.close(descriptor)
            if time.monotonic() > give_up:
                raise InputError(
                    f"{name}: is in use by another run ({holder or 'unknown'}); wait for it, or give another folder"
                ) from None
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            print(f"warning: {name}: cannot be locked ({error.strerror}); start no second run in it", flush=True)
            return None


def _is_in_folder(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
