"""Running a process on the processor cores near its GPU, where NVIDIA's management library can tell which they are."""

import logging
import os
from types import ModuleType

_BITS_PER_WORD = 64  # of NVML's masks: unsigned long
_log = logging.getLogger(__name__)


def bind_to_gpu_cores(index: int) -> None:
    """Keep this process (what it starts from now on, too) to those of its cores that are near CUDA's GPU ``index``.

    Never more than a help: without pynvml, or where anything fails, the process stays where it may run.
    """
    try:
        import pynvml
    except ImportError:
        return
    try:
        near = _cores_near(pynvml, index) & os.sched_getaffinity(0)
        if near:
            os.sched_setaffinity(0, near)
    except Exception as error:  # of a driver, a container or a virtual machine: no reason to end a run
        _log.info("the cores near GPU %d are not known: %s", index, error)


def _cores_near(pynvml: ModuleType, index: int) -> set[int]:
    """By UUID: NVML numbers all GPUs, CUDA those of CUDA_VISIBLE_DEVICES."""
    import torch

    pynvml.nvmlInit()
    try:
        uuid = torch.cuda.get_device_properties(index).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        words = pynvml.nvmlDeviceGetCpuAffinity(handle, -(-os.sysconf("SC_NPROCESSORS_CONF") // _BITS_PER_WORD))
    finally:
        pynvml.nvmlShutdown()
    return cores_in(words)


def cores_in(words: list[int]) -> set[int]:
    """The numbers of the cores whose bits are set in a mask of 64-bit words, lowest first."""
    return {
        word * _BITS_PER_WORD + bit
        for word, mask in enumerate(words)
        for bit in range(_BITS_PER_WORD)
        if mask >> bit & 1
    }
