"""Progress bars of what is read once."""

import sys

from tqdm import tqdm

from .world import process_rank


def line_progress(total: int, description: str, unit: str) -> tqdm:
    """A bar where it takes more than some seconds; in a log file a line now and then."""
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        delay=5,
        mininterval=0.1 if sys.stderr.isatty() else 30,
        dynamic_ncols=True,
        disable=process_rank() > 0,
    )
