"""A GPU's memory: segments that grow, as lengths of texts vary, and what is free again."""

import gc
import os
import warnings

import torch

_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")  # by which users configure it


def use_expandable_segments() -> None:
    """Have torch's allocator map memory to the end of a segment that is too small, rather than reserve another one.

    By default a tensor that fits into no free block gets a block of its own size, which later ones often do not fit
    either: with lengths that vary, much memory is reserved and not used. Others measured 28% less (cp2k pull request
    5672, on two A40) and a batch that fits an RTX 3090 only so (autoresearch pull request 588), with no loss of speed;
    this project has not measured it yet. The memory pools of CUDA graphs can have such segments (pytorch pull request
    128068); a hang with them is known (torchtitan issue 3306), but of graphs with collectives, which there are none of
    here.

    The setting is made by a call, because the name of the variable depends on torch's version: 2.9 ignores the new one
    (pytorch issue 183387), and versions before 2.12 warn of the old one. A user's own configuration stays as it is.
    Some virtual GPUs cannot map memory: an allocation is tried, and if it fails everything stays as by default.
    """
    if any(os.environ.get(name) for name in _VARIABLES):
        return
    _configure("expandable_segments:True")
    try:
        _allocate()
    except RuntimeError:
        _configure("expandable_segments:False")


def free_unused_memory(device: torch.device) -> None:
    """Delete what only reference cycles keep, and return the memory of deleted tensors and graphs to the GPU."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _configure(settings: str) -> None:
    """Change the settings of the allocator, if this version of torch lets them be changed."""
    change = getattr(torch.cuda.memory, "_set_allocator_settings", None)  # deprecated in 2.13
    change = change or getattr(torch._C, "_accelerator_setAllocatorSettings", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the new name
        if change is not None:
            change(settings)


def _allocate() -> None:
    """Allocate a little memory on the current GPU."""
    torch.empty(1, device="cuda")
