"""Progress bars for passes over a data set."""

import sys

from tqdm import tqdm

from .world import process_rank


def line_progress(total: int, description: str, unit: str) -> tqdm:
    """Return a bar of the first process, shown after five seconds; in a log file it is a line every half minute."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        delay=5,
        mininterval=0.1 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
        disable=process_rank() > 0,
    )
