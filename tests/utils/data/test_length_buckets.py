import numpy as np
import pytest

from utils.data.batch import padded_length
from utils.data.length_buckets import LengthGroup, groups_by_length


def groups(shapes: np.ndarray, rows: np.ndarray | None = None, step_size: int = 3) -> list[LengthGroup]:
    rows = np.arange(shapes.shape[1]) if rows is None else rows
    return groups_by_length(rows, shapes, lambda source, target: step_size)


@pytest.mark.parametrize("varied", [0, 1])
def test_halved_by_the_side_that_varies(varied: int) -> None:
    """Groups of equal shapes, though the corpus has them in any order."""
    shapes = np.full((2, 200), 16)
    shapes[varied] = np.random.default_rng(0).permutation(np.repeat([8, 40, 80, 160], 50))
    found = groups(shapes, step_size=5)
    assert [shapes[varied][group.rows].tolist() for group in found] == [[length] * 50 for length in (8, 40, 80, 160)]
    assert [group.steps for group in found] == [10] * 4


def test_no_group_without_a_choice() -> None:
    """Each has several steps, all examples are in one group, and only one group's last step is short."""
    shapes = padded_length(np.random.default_rng(0).integers(1, 200, (2, 1000)))
    found = groups(shapes)
    assert len(found) > 50 and min(group.steps for group in found) >= 4
    assert sorted(row for group in found for row in group.rows.tolist()) == list(range(1000))
    assert sum(group.steps for group in found) == 334


def test_like_shapes_are_exchanged() -> None:
    """Another order of the rows puts other examples into a group, of the same shapes."""
    rng = np.random.default_rng(0)
    shapes = padded_length(rng.integers(1, 60, (2, 1000)))
    ours, theirs = groups(shapes), groups(shapes, rng.permutation(1000))
    assert [shapes[:, group.rows].tolist() for group in ours] == [shapes[:, group.rows].tolist() for group in theirs]
    assert [group.rows.tolist() for group in ours] != [group.rows.tolist() for group in theirs]
