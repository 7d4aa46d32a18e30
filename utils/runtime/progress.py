"""Progress bars for passes over a data set."""

import sys
import time
from typing import Any

from tqdm import tqdm

from .world import process_rank


class ProgressBar(tqdm):
    """A bar of tqdm by the monotonic clock: it goes on if the machine's clock is set. Takes what tqdm takes."""

    def __init__(self, *given: Any, **named: Any) -> None:
        """Start the bar. It looks at its clock at every update, so that tqdm's thread has nothing to do here."""
        super().__init__(*given, **{"miniters": 1, **named})
        self._time = time.monotonic
        if not self.disable:
            self.last_print_t = self.start_t = self._time()


def line_progress(total: int, description: str, unit: str) -> ProgressBar:
    """Return a bar of the first process, shown after five seconds; in a log file it is a line every half minute."""
    return ProgressBar(
        total=total,
        desc=description,
        unit=unit,
        delay=5,
        mininterval=0.1 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
        disable=process_rank() > 0,
    )
