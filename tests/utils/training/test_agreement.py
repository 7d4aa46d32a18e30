"""How far apart the steps are after which all processes agree."""

import pytest
import torch
from torch import Tensor

from utils.training.agreement import StepAgreements, steps_between


@pytest.mark.parametrize(("seconds", "steps"), [(0.001, 10), (1, 10), (1.1, 9), (4, 2), (9, 1), (60, 1)])
def test_ten_seconds_and_ten_steps_at_most(seconds: float, steps: int) -> None:
    assert steps_between(seconds) == steps


class _BesideASlowProcess:
    """A trainer of two processes, whose other one took a minute for its step."""

    world_size = 2
    global_step = 1

    def __init__(self) -> None:
        self.strategy = self
        self.root_device = torch.device("cpu")

    def reduce(self, values: Tensor, reduce_op: str) -> Tensor:
        assert reduce_op == "max"
        return torch.maximum(values, torch.tensor([60.0, 3.0], dtype=values.dtype))


def test_a_quick_process_plans_what_a_slow_one_plans() -> None:
    """By its own clock, it would let ten steps pass, and the slow one would wait for it."""
    trainer = _BesideASlowProcess()
    agreements = StepAgreements()
    agreements.start(0)
    assert agreements.largest(trainer, [2.0]) == [3.0]  # type: ignore[arg-type]
    assert not agreements.is_due(trainer)  # type: ignore[arg-type]
    trainer.global_step = 2
    assert agreements.is_due(trainer)  # type: ignore[arg-type]
