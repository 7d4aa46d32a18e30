"""Bind a process to the processor cores near its GPU, as far as NVIDIA's management library (NVML) knows them."""

import logging
import os
from types import ModuleType

import torch

_BITS_PER_WORD = 64  # of NVML's masks: unsigned long
_log = logging.getLogger(__name__)


def bind_to_gpu_cores(index: int) -> None:
    """Restrict this process, and what it starts from now on, to its cores near CUDA's GPU ``index``.

    This only ever speeds a run up: without pynvml, or if anything fails, the process keeps all its cores.
    """
    try:
        import pynvml  # optional
    except ImportError:
        return
    try:
        near = _cores_near(pynvml, index) & os.sched_getaffinity(0)
        if near:
            os.sched_setaffinity(0, near)
    except Exception as error:  # from a driver, a container or a virtual machine: no reason to end a run
        _log.info("the cores near GPU %d are not known: %s", index, error)


def _cores_near(pynvml: ModuleType, index: int) -> set[int]:
    """Find the GPU by its UUID: NVML numbers all GPUs, CUDA only those in CUDA_VISIBLE_DEVICES."""
    pynvml.nvmlInit()
    try:
        uuid = torch.cuda.get_device_properties(index).uuid
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
        words = pynvml.nvmlDeviceGetCpuAffinity(handle, -(-os.sysconf("SC_NPROCESSORS_CONF") // _BITS_PER_WORD))
    finally:
        pynvml.nvmlShutdown()
    return cores_in(words)


def cores_in(words: list[int]) -> set[int]:
    """Return the numbers of the cores whose bits are set in a mask of 64-bit words, lowest word first."""
    return {
        word * _BITS_PER_WORD + bit
        for word, mask in enumerate(words)
        for bit in range(_BITS_PER_WORD)
        if mask >> bit & 1
    }
