"""Groups of examples of like length: a batch whose examples come from one group needs little padding.

Shapes, int64 (2, examples), are the padded lengths of the sources and of the targets.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

StepSize = Callable[[int, int], int]  # longest source and longest target, padded -> examples of a step at most

# A group has several steps, or the same examples would meet in every epoch. More groups make for less padding, but with
# so many there is hardly any left; so the groups of large corpora have more steps instead.
_FEWEST_STEPS = 4
_MOST_GROUPS = 512


@dataclass(frozen=True)
class LengthGroup:
    """Examples that are to be spread evenly over so many steps."""

    rows: np.ndarray  # (N,) int64
    steps: int
    step_size: int  # examples of a step at most


def one_group(rows: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> LengthGroup:
    """All the examples, in as many steps as the longest source and the longest target make necessary."""
    size = step_size(*shapes[:, rows].max(axis=1).tolist())
    return LengthGroup(rows, -(-len(rows) // size), size)


def groups_by_length(rows: np.ndarray, shapes: np.ndarray, step_size: StepSize) -> list[LengthGroup]:
    """Halve the examples, by whichever length makes for more padding among them, until the halves are a few steps.

    The order of ``rows`` decides which of several examples of one shape go to which group, and nothing else: the groups
    of any order have the same shapes and steps.
    """
    fewest_steps = max(_FEWEST_STEPS, one_group(rows, shapes, step_size).steps // _MOST_GROUPS)

    def halve(rows: np.ndarray) -> list[LengthGroup]:
        group = one_group(rows, shapes, step_size)
        padding = shapes[:, rows].max(axis=1) - shapes[:, rows].mean(axis=1)
        if group.steps < 2 * fewest_steps or not padding.any():
            return [group]
        side = int(padding.argmax())
        # The other side comes second, so that the shapes of a half do not depend on the order of the rows.
        by_length = rows[np.lexsort((shapes[1 - side][rows], shapes[side][rows]))]
        cut = len(rows) - group.steps // 2 * group.step_size  # the longer half has whole steps
        return halve(by_length[:cut]) + halve(by_length[cut:])

    return halve(rows)
