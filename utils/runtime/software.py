"""The versions of the software that results depend on."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "pytorch-lightning", "transformers", "tokenizers", "safetensors", "numpy", "rouge-score", "nltk")


def git_commit() -> str | None:
    """Return the commit that is checked out; None without git, in an unpacked archive, or if this is installed.

    The environment may lie within the checkout of another project: git is asked for this file too, and fails if the
    commit does not have it.
    """
    file = Path(__file__)
    command = ["git", "-C", str(file.parent), "rev-parse", "HEAD", f"HEAD:./{file.name}"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def software() -> dict[str, Any]:
    """Return the versions and the commit that results depend on."""
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return {"versions": {"python": platform.python_version(), **versions}, "git_commit": git_commit()}
