"""Speed and memory of a training: tokens and sequences per second, MFU, time spent waiting for data, peak memory.

MFU is the model FLOPs utilization: the share of the machine's measured peak that the model's operations reach.
"""

import resource
import time

import torch
from torch import Tensor

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import IGNORE_INDEX

from ..data.batch import Batch
from .flops import LengthSums, measured_peak, training_flops


class ThroughputMeter:
    """A meter that counts the tokens of training steps, on their device, and the time; validations are left out.

    Figures are read in windows, each from one call of ``read`` to the next. All processes take the same steps; the
    caller adds up their ``totals`` for ``read``.
    """

    def __init__(self, config: BartConfig, device: torch.device, dtype: torch.dtype, waited: float) -> None:
        """Start the clock.

        Args:
            dtype: type of most matrix products, for the peak of the machine.
            waited: seconds that this process has waited for data so far.
        """
        self._config, self._device = config, device
        self._peak = measured_peak(device.type, dtype)
        self._sums = torch.zeros(6, dtype=torch.float64, device=self._device)  # the window's LengthSums
        self._waited = waited  # seconds waited until the window began
        self._overall: list[float] = [0.0] * 8  # counts and seconds of all windows so far
        self._paused = 0.0  # time of the last pause
        self._window = time.perf_counter()  # time at which the window began, shifted by the length of pauses

    def pause(self) -> None:
        """Stop the clock."""
        self._paused = time.perf_counter()

    def resume(self) -> None:
        """Start the clock again after a pause."""
        self._window += time.perf_counter() - self._paused

    def count(self, batch: Batch) -> Tensor:
        """Count a micro-batch; a dummy batch has no target tokens and counts as nothing.

        Returns:
            The number of its target tokens, a scalar on the device.
        """
        targets = (batch.labels != IGNORE_INDEX).sum(1).double()
        sources = batch.attention_mask.sum(1).double() * (targets > 0)
        ones = (targets > 0).double()
        self._sums += torch.stack(
            [ones, sources, targets, sources * sources, targets * targets, sources * targets]
        ).sum(1)
        return targets.sum()

    def totals(self, waited: float) -> Tensor:
        """Return the counts of this process in the window.

        Args:
            waited: seconds that this process has waited for data so far.

        Returns:
            (7,) float64: the numbers of LengthSums, and the seconds of waiting for data.
        """
        new = torch.tensor([waited - self._waited], dtype=torch.float64, device=self._device)
        self._waited = waited
        return torch.cat([self._sums, new])

    def read(self, counts: list[float], processes: int) -> tuple[dict[str, float], dict[str, float]]:
        """Compute the figures of the window, and begin a new one.

        Args:
            counts: the sum of the ``totals`` of all processes.

        Returns:
            The figures of the window, and those since the start.
        """
        now = time.perf_counter()
        window = [*counts, now - self._window]
        self._overall = [before + new for before, new in zip(self._overall, window, strict=True)]
        self._window = now
        self._sums = torch.zeros_like(self._sums)
        overall = self._figures(self._overall, processes)
        overall |= {"seconds": self._overall[-1], "sequences": self._overall[0]}
        return self._figures(window, processes), overall

    def _figures(self, counts: list[float], processes: int) -> dict[str, float]:
        *lengths, waited, seconds = counts
        sums = LengthSums(*lengths)
        mfu = training_flops(self._config, sums) / seconds / (processes * self._peak)
        return {
            "tokens_per_second": (sums.sources + sums.targets) / seconds,
            "sequences_per_second": sums.examples / seconds,
            "share_of_peak": mfu,
            "share_waiting_for_data": waited / processes / seconds,
            "peak_memory_gb": peak_memory(self._device) / 1e9,
        }


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: on a GPU that of this process's tensors, on a CPU that of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
