"""The sentences of a batch whose search goes on. Sentences that are done leave the batch, so that steps get faster.

A sentence's place is its index in the batch as it is now; places change whenever the batch shrinks.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_LAG = {"cuda": 2}  # steps by which the host may lag behind; waiting for the newest one would leave a GPU idle
_PARTS = 8  # a batch shrinks by eighths, so that there are few shapes, and little is moved
_HALVES = {"cuda"}  # devices on which it shrinks by halves, down to an eighth: each size takes CUDA graphs of its own


class PerSentenceState(Protocol):
    """Anything that holds tensors with one entry per sentence of the batch."""

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Keep only the rows of each tensor (B, ...) that ``gather`` returns: those of the sentences that stay."""


@dataclass
class BatchCompaction:
    """A plan to shrink a batch: sentences at ``sources`` move to ``targets``, then the first ``count`` places stay."""

    sources: Tensor  # (m,)
    targets: Tensor  # (m,)
    count: int

    def gather(self, values: Tensor) -> Tensor:
        """Return the entries of ``values`` (B, ...) that stay: (count, ...). Overwrites ``values``."""
        values[self.targets] = values[self.sources]
        return values[: self.count]

    def apply(self, parts: Iterable[PerSentenceState]) -> None:
        """Shrink the tensors of each part."""
        for part in parts:
            part.keep_rows(self.gather)


class ActiveSentences:
    """Tracks which sentences are at which places of the batch, and decides when the batch shrinks."""

    def __init__(self, batch: int, device: torch.device, may_shrink: bool) -> None:
        """Start with ``batch`` sentences; if ``may_shrink`` is false, all of them stay until the end."""
        self.sentences = torch.arange(batch, device=device)  # by place
        self.all_done = False
        step = -(-batch // _PARTS)
        if not may_shrink:
            self._sizes = [batch]
        elif device.type in _HALVES:
            self._sizes = [-(-batch // 8), -(-batch // 4), -(-batch // 2), batch]
        else:
            self._sizes = list(range(step, batch + step, step))
        self._lag = _LAG.get(device.type, 0)
        self._reports: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def report(self, done: Tensor, all_done: Tensor) -> BatchCompaction | None:
        """Take the results of one step, and decide whether the batch shrinks now.

        Args:
            done: bool (B,), true for the places whose result is final.
            all_done: bool scalar, whether the search is over.

        Returns:
            The plan that all holders of per-sentence tensors must apply, or None if the batch stays as it is.
        """
        return self.report_flags(torch.cat([done, all_done[None]]))

    def report_flags(self, flags: Tensor) -> BatchCompaction | None:
        """Do as ``report`` does, with ``done`` and ``all_done`` in one tensor: bool (B + 1,)."""
        # Read a report only when ``_lag`` newer ones are under way, so that a GPU need not wait for the host.
        self._reports.append(_copy_to_host(flags))
        if len(self._reports) <= self._lag:
            return None
        known, event = self._reports.popleft()
        if event is not None:
            event.synchronize()
        *places, self.all_done = known.tolist()

        # Round the number of places up to one of few sizes, so that there are few shapes.
        running = [place for place, is_done in enumerate(places) if not is_done]
        count = next(size for size in self._sizes if size >= len(running)) if running else 0
        if self.all_done or count >= len(places):
            return None
        self._reports.clear()  # they are about the old places
        compaction = self._compact(running, count)
        self.sentences = compaction.gather(self.sentences.clone())  # the search may still need the old order
        return compaction

    def surplus_steps(self) -> int:
        """Return how many of the newest steps were taken after the search was over, because the host lags behind.

        Call it after the last step. When a search ends at the greatest length, its last step has not been reported.
        """
        if self.all_done:
            return len(self._reports)
        for surplus, (known, event) in enumerate(reversed(self._reports)):
            if event is not None:
                event.synchronize()
            if not known[-1]:
                return surplus
        return len(self._reports)

    def _compact(self, running: Sequence[int], count: int) -> BatchCompaction:
        """Return the plan that moves the running sentences from behind the first ``count`` places into free ones."""
        behind = [place for place in running if place >= count]
        free = sorted(set(range(count)) - set(running))
        device = self.sentences.device
        sources, targets = (torch.tensor(places, dtype=torch.long) for places in (behind, free[: len(behind)]))
        return BatchCompaction(sources.to(device, non_blocking=True), targets.to(device, non_blocking=True), count)


def _copy_to_host(values: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Copy to the host. Return the copy and, for values on a GPU, the event after which the copy is complete."""
    if values.device.type != "cuda":
        return values.cpu(), None
    copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copy.copy_(values, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return copy, event
