"""The sentences of a batch that are still searched for. Those that are done leave it, so that the others get faster."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

_LAG = {"cuda": 2}  # steps that the host may be behind; a wait for the newest one would leave a GPU without work
_PARTS = 8  # a batch shrinks by eighths, so that there are few shapes, and little is moved


class PerSentenceState(Protocol):
    """Anything that holds tensors with an entry for each sentence of the batch."""

    def keep_rows(self, gather: Callable[[Tensor], Tensor]) -> None:
        """Drop the sentences that leave: keep of each tensor (B, ...) the rows that ``gather`` gives."""


@dataclass
class BatchCompaction:
    """How a batch shrinks: sentences at ``sources`` move to ``targets``, then the first ``count`` places are kept."""

    sources: Tensor  # (m,)
    targets: Tensor  # (m,)
    count: int

    def gather(self, values: Tensor) -> Tensor:
        """Keep the entries (B, ...) that stay, in place: those that move overwrite what was at their new places."""
        values[self.targets] = values[self.sources]
        return values[: self.count]

    def apply(self, parts: Iterable[PerSentenceState]) -> None:
        """Shrink the state of each part."""
        for part in parts:
            part.keep_rows(self.gather)


class ActiveSentences:
    """The sentences of a batch that are still searched for, by their places, which change as others leave."""

    def __init__(self, batch: int, device: torch.device, may_shrink: bool) -> None:
        self.sentences = torch.arange(batch, device=device)  # by place
        self.all_done = False
        self._step = -(-batch // _PARTS) if may_shrink else batch
        self._lag = _LAG.get(device.type, 0)
        self._reports: deque[tuple[Tensor, torch.cuda.Event | None]] = deque()

    def report(self, done: Tensor, all_done: Tensor) -> BatchCompaction | None:
        """Tell which places (B,) are done for good, and (a scalar) whether the search is over.

        Returns how the batch is to shrink now, or None if it is not.
        """
        self._reports.append(_copy_to_host(torch.cat([done, all_done[None]])))
        if len(self._reports) <= self._lag:
            return None
        known, event = self._reports.popleft()
        if event is not None:
            event.synchronize()
        *places, self.all_done = known.tolist()
        running = [place for place, is_done in enumerate(places) if not is_done]
        count = -(-len(running) // self._step) * self._step
        if self.all_done or count >= len(places):
            return None
        self._reports.clear()  # they speak of the old places
        compaction = self._compact(running, count)
        self.sentences = compaction.gather(self.sentences.clone())  # what it was, a search may still need
        return compaction

    def surplus_steps(self) -> int:
        """How many of the newest steps were taken after the search was over, since the host had not heard of it.

        To be asked when no more steps are taken. Where the longest output ends a search, its last step is not reported.
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
        behind = [place for place in running if place >= count]
        free = sorted(set(range(count)) - set(running))
        device = self.sentences.device
        sources, targets = (torch.tensor(places, dtype=torch.long) for places in (behind, free[: len(behind)]))
        return BatchCompaction(sources.to(device, non_blocking=True), targets.to(device, non_blocking=True), count)


def _copy_to_host(values: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy on the host, and of a GPU's values the event after which it is there."""
    if values.device.type != "cuda":
        return values.cpu(), None
    copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copy.copy_(values, non_blocking=True)
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return copy, event
