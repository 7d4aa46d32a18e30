"""The machine and the versions that a report names."""

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bart.errors import InputError
from utils.runtime.software import git_commit

ROOT = Path(__file__).parents[3]


def describe(device: str) -> dict[str, Any]:
    """Return the GPU and the versions. Raises InputError if the device is missing."""
    requirements = (ROOT / "requirements" / "runtime.in").read_text(encoding="utf-8")
    packages = {name: _version(name) for name in ["pytest", *re.findall(r"^[\w-]+", requirements, re.MULTILINE)]}
    gpu: dict[str, str | None] = {"gpu": None, "cuda": None}
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise InputError("--device cuda: torch finds no GPU here; give --device cpu for the tests that need none")
        gpu = {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
    return {
        **gpu,
        "python": platform.python_version(),
        "packages": packages,
        "missing_packages": [name for name, found in packages.items() if found is None],
        "git_commit": git_commit(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
