"""Find NVIDIA's apex. It is in no registry: PyPI's package of the same name is something else."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

HOW_TO_GET_AMP = (
    "the container nvcr.io/nvidia/pytorch:25.05-py3 is the last with apex.amp, and `pip install apex` is something else"
)


def why_no_amp() -> str | None:
    """Return why apex.amp cannot be used here; None if it can."""
    spec = importlib.util.find_spec("apex")
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or []]
    if not folders:
        return "apex is not installed"
    if not any((folder / "multi_tensor_apply").is_dir() for folder in folders):  # PyPI's: do not even import it
        return f"the apex in {folders[0]} is not NVIDIA's"
    if not any((folder / "amp").is_dir() for folder in folders):
        return "the apex installed is newer than May 2025, when amp was removed from it"
    return _why_not_importable("apex.amp")


def fused_optimizers() -> ModuleType | None:
    """Return the module apex.optimizers; None without NVIDIA's apex or without its CUDA extension."""
    for module in ("amp_C", "apex.optimizers"):  # the first is the extension, which PyPI's package lacks
        if _why_not_importable(module) is not None:
            return None
    return importlib.import_module("apex.optimizers")


def _why_not_importable(module: str) -> str | None:
    """Return the error of an import; None if it works. Built for another torch, apex fails in many ways."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return f"{module} cannot be imported here ({type(error).__name__}: {error})"
    return None
