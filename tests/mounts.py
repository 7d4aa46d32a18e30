"""File systems with a fault: a small one that is soon full, one that cannot be written to."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """An empty file system of that size (as 1m) at a new folder; the test is skipped where it cannot be mounted."""
    place.mkdir()
    with _mounted(place, "-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        yield place


@contextmanager
def read_only(folder: Path, place: Path) -> Iterator[Path]:
    """What is in a folder, at a new one through which nothing can be written."""
    place.mkdir()
    with _mounted(place, "--bind", str(folder)):
        _mount("-o", "remount,bind,ro", str(place))
        yield place


def with_shared_memory(options: str, command: list[str]) -> list[str]:
    """The command with a /dev/shm of its own, mounted with such options as size=4k; the test may be skipped."""
    mount = f"mount -t tmpfs -o {shlex.quote(options)} tmpfs /dev/shm"
    try:
        tried = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no program unshare")
    if tried.returncode != 0:
        pytest.skip(f"file systems cannot be mounted here: {tried.stderr.strip()}")
    return ["unshare", "--mount", "sh", "-c", f"{mount} && exec {shlex.join(command)}"]


@contextmanager
def _mounted(place: Path, *arguments: str) -> Iterator[None]:
    _mount(*arguments, str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def _mount(*arguments: str) -> None:
    try:
        result = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no program mount")
    if result.returncode != 0:
        pytest.skip(f"file systems cannot be mounted here: {result.stderr.strip()}")


def fill(folder: Path, left: int) -> None:
    """Leave that many bytes of its file system free, to a page."""
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(folder).free - left)
