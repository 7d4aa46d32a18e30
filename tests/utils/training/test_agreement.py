"""How far apart the steps are after which all processes agree."""

import pytest

from utils.training.agreement import steps_between


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 10), (1, 10), (1.1, 9), (4, 2), (9, 1), (60, 1)])
def test_ten_seconds_and_ten_steps_at_most(seconds: float, steps: int) -> None:
    assert steps_between(seconds) == steps
