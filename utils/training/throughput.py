"""How fast a training is: tokens and sequences per second, share of the machine's peak, waiting for data, memory."""

import resource
import time

import torch
from torch import Tensor

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import IGNORE_INDEX

from ..data.batch import Batch
from .flops import LengthSums, measured_peak, training_operations


class ThroughputMeter:
    """Counts what training steps do, on their device, and reads the clock; validations are left out.

    All processes take the same steps; ``totals`` of each are to be added up for ``read``.
    """

    def __init__(self, config: BartConfig, device: torch.device, kind: torch.dtype, waited: float) -> None:
        """``kind`` is the type of most matrix products; ``waited`` is how many seconds of waiting were before."""
        self._config, self._device = config, device
        self._peak = measured_peak(device.type, kind)
        self._sums = torch.zeros(6, dtype=torch.float64, device=self._device)  # of LengthSums, in the window
        self._waited = waited  # in all when the window began
        self._whole: list[float] = [0.0] * 8  # counts of all windows before, and their seconds
        self._paused = 0.0
        self._window = time.perf_counter()  # when it began, moved on by pauses

    def pause(self) -> None:
        """Let the clock stand."""
        self._paused = time.perf_counter()

    def go_on(self) -> None:
        """After a pause."""
        self._window += time.perf_counter() - self._paused

    def count(self, batch: Batch) -> Tensor:
        """Take a micro-batch; a stand-in counts for nothing. Returns its target tokens, a scalar on the device."""
        targets = (batch.labels != IGNORE_INDEX).sum(1).double()
        sources = batch.attention_mask.sum(1).double() * (targets > 0)
        ones = (targets > 0).double()
        self._sums += torch.stack(
            [ones, sources, targets, sources * sources, targets * targets, sources * targets]
        ).sum(1)
        return targets.sum()

    def totals(self, waited: float) -> Tensor:
        """(7,) float64: what this process did since the last reading, the seconds it waited for data last."""
        new = torch.tensor([waited - self._waited], dtype=torch.float64, device=self._device)
        self._waited = waited
        return torch.cat([self._sums, new])

    def read(self, counts: list[float], processes: int) -> tuple[dict[str, float], dict[str, float]]:
        """Figures since the last reading, and since the start, given the ``totals`` of all processes, added up."""
        now = time.perf_counter()
        window = [*counts, now - self._window]
        self._whole = [before + new for before, new in zip(self._whole, window, strict=True)]
        self._window = now
        self._sums = torch.zeros_like(self._sums)
        whole = {**self._figures(self._whole, processes), "seconds": self._whole[-1], "sequences": self._whole[0]}
        return self._figures(window, processes), whole

    def _figures(self, counts: list[float], processes: int) -> dict[str, float]:
        *lengths, waited, seconds = counts
        sums = LengthSums(*lengths)
        return {
            "tokens_per_second": (sums.sources + sums.targets) / seconds,
            "sequences_per_second": sums.examples / seconds,
            "share_of_peak": training_operations(self._config, sums) / seconds / (processes * self._peak),
            "share_waiting_for_data": waited / processes / seconds,
            "peak_memory_gb": peak_memory(self._device) / 1e9,
        }


def peak_memory(device: torch.device) -> int:
    """The most bytes so far: on a GPU of this process's tensors, on a CPU of the process with all it has loaded."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
