"""Run a program that may start only a few processes and threads."""

import os
import shutil

import pytest


def with_most_processes(number: int, command: list[str]) -> list[str]:
    """The command with such a limit; the test is skipped where it cannot be set.

    It runs as a user who has no other process, for the limit is per user, but with root's rights to files.
    """
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root, with setpriv, can run a program as another user")
    user = ["setpriv", "--ruid", "54321", "--bounding-set", "-sys_resource,-sys_admin"]
    return [*user, "prlimit", f"--nproc={number}:{number}", *command]
