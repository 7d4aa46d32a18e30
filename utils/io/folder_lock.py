"""One run at a time in a results folder."""

import fcntl
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from bart.errors import InputError

LOCK_FILE = ".lock"
_SECONDS_TO_WAIT = 3.0  # a process that was killed a moment ago needs time to be gone
_SECONDS_BETWEEN_TRIES = 0.1


class FolderLock:
    """A lock that this process holds within a ``with`` block; from its start where the folder is there already.

    The kernel takes it from a process that ends, however it ends. It is flock's, which NFS carries to other machines
    unless it is mounted with local locks; where there are no locks a line says so, and nobody is kept out.
    """

    def __init__(self, folder: Path, name: str, is_holder: bool = True) -> None:
        """``name`` is for messages. Of several processes that work together one is the holder; others do nothing."""
        self.folder = folder
        self.name = name
        self.is_holder = is_holder
        self._descriptors: list[int] = []  # one while it is held

    def __enter__(self) -> "FolderLock":
        if self.folder.is_dir() and os.access(self.folder, os.W_OK):
            self.hold()
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptors:
            (self.folder / LOCK_FILE).unlink(missing_ok=True)
            self._let_go()

    def hold(self) -> bool:
        """Take the lock of a folder that is there by now; returns whether it was not held before.

        Raises InputError, beginning with the name, where another process has it.
        """
        if self._descriptors or not self.is_holder:
            return False
        descriptor = _lock(self.folder / LOCK_FILE, f"{self.name} {self.folder}")
        if descriptor is not None:
            self._descriptors.append(descriptor)
            # Processes forked to prepare batches would hold it on, for the seconds in which they outlive this one.
            os.register_at_fork(after_in_child=self._let_go)
        return True

    def _let_go(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


def _lock(path: Path, name: str) -> int | None:
    """The descriptor of the locked file, in which its holder is named; None where the file system has no locks."""
    give_up = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        descriptor = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still_there(path, descriptor):  # not deleted by its last holder in this moment
                with suppress(OSError):  # the disk is full: it is held by nobody knows whom
                    os.truncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
            os.close(descriptor)
        except BlockingIOError:
            holder = os.pread(descriptor, 1000, 0).decode(errors="replace")
            os.close(descriptor)
            if time.monotonic() > give_up:
                raise InputError(
                    f"{name}: is in use by another run ({holder or 'unknown'}); let it end, or give another folder"
                ) from None
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            print(f"warning: {name}: cannot be locked ({error.strerror}); start no second run in it", flush=True)
            return None


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
