"""What the inputs of a fuzz cost: seconds of a core and memory, of which a file of others may not take much."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

MOST_SECONDS = 5.0  # of a core
MOST_MEGABYTES = 1000.0  # more than before


class InputCosts:
    """The number of inputs, the slowest one and the one that took most memory."""

    def __init__(self) -> None:
        self.inputs = 0
        self._slowest = self._largest = (0.0, "")

    @contextmanager
    def measure(self, described: str) -> Iterator[None]:
        """Measure what is done with an input. Memory is that by which the greatest of the process has grown."""
        seconds, megabytes = time.process_time(), _peak_megabytes()
        yield
        self.inputs += 1
        self._slowest = max(self._slowest, (time.process_time() - seconds, described))
        self._largest = max(self._largest, (_peak_megabytes() - megabytes, described))

    def check(self) -> None:
        """Print the greatest costs, and check that they are within the limits."""
        print(f"{self.inputs:,} inputs; slowest: {self._slowest[0]:.2f} s of a core, {self._slowest[1]}")
        print(f"largest: {self._largest[0]:.0f} MB more, {self._largest[1]}")
        assert self._slowest[0] < MOST_SECONDS and self._largest[0] < MOST_MEGABYTES


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
