"""The largest batches that fit into memory, in steps of as many examples as before."""

import numpy as np
import pytest

from bart.errors import InputError
from tests.tiny_training import start_model
from utils.cli.training_args import MixedPrecisionSettings, OptimizationSettings
from utils.data.batch_sampler import LengthBucketSampler
from utils.runtime.world import WorldInfo
from utils.training import batch_size_finder as auto_batch_size
from utils.training.batch_size_finder import available_memory, divisors, fit_batch, largest_that_fits, total_memory

HERE = WorldInfo(on_gpu=False, processes=1, rank=0)


def sampler_of(settings: OptimizationSettings) -> LengthBucketSampler:
    lengths = np.array([40, 9, 30] * 40)
    batch_size, accumulation = settings.train_batch_size, settings.gradient_accumulation_steps
    return LengthBucketSampler(lengths, lengths // 2, batch_size, accumulation, 1, group_by_length=True)


def fit(
    settings: OptimizationSettings, world: WorldInfo, strategy: str = "ddp"
) -> tuple[OptimizationSettings, LengthBucketSampler]:
    return fit_batch(settings, MixedPrecisionSettings(), strategy, start_model(), sampler_of(settings), world)


@pytest.mark.parametrize("largest", range(13))
def test_largest_that_fits(largest: int) -> None:
    tried: list[int] = []
    found = largest_that_fits(divisors(12), lambda size: tried.append(size) or size <= largest)
    assert found == max((size for size in (1, 2, 3, 4, 6, 12) if size <= largest), default=None)
    assert len(tried) <= 3


def test_steps_stay_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The batch size is chosen by formula: an example of this model takes about 0.2 MB."""
    for memory, expected in ((10**9, (24, 1)), (3_200_000, None)):
        monkeypatch.setattr(auto_batch_size, "available_memory", lambda memory=memory: memory)
        settings = OptimizationSettings(train_batch_size=4, gradient_accumulation_steps=6)
        before = sampler_of(settings)
        settings, after = fit(settings, HERE)
        chosen = settings.train_batch_size, settings.gradient_accumulation_steps
        assert chosen == (expected or chosen) and chosen[0] * chosen[1] == 24
        assert (after.batch_size, after.accumulation) == chosen
        assert f"batches of {chosen[0]} by formula (longest: 40 and 24 tokens)" in capsys.readouterr().out
        for step, same in zip(before.steps(0), after.steps(0), strict=True):
            assert step.tolist() == same.tolist()
    assert 1 <= chosen[0] < 24


def test_r_drop_needs_twice_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    for alpha in (0.0, 0.7):
        monkeypatch.setattr(auto_batch_size, "available_memory", lambda: 4 * 10**6)
        fitting, _ = fit(OptimizationSettings(train_batch_size=32, r_drop=alpha), HERE)
        chosen.append(fitting.train_batch_size)
    assert chosen[0] == 2 * chosen[1] < 32


def test_not_even_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_batch_size, "available_memory", lambda: 10**5)
    with pytest.raises(InputError, match="--auto_batch_size: not one example of 40 and 24 tokens"):
        fit(OptimizationSettings(train_batch_size=4), HERE)


def test_several_processes_come_to_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The free memory differs from moment to moment, so they use the total memory."""
    chosen = set()
    for free in (10**5, 10**9):
        monkeypatch.setattr(auto_batch_size, "available_memory", lambda free=free: free)
        world = WorldInfo(on_gpu=False, processes=2, rank=1)
        fitting, _ = fit(OptimizationSettings(train_batch_size=4), world)
        chosen.add(fitting.train_batch_size)
    assert chosen == {4}


def test_a_sharded_model_takes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_batch_size, "total_memory", lambda: 2 * 10**6)
    world = WorldInfo(on_gpu=False, processes=2, rank=1)
    with pytest.raises(InputError, match="not one example"):
        fit(OptimizationSettings(train_batch_size=4), world)
    fit(OptimizationSettings(train_batch_size=4), world, strategy="fsdp")


def test_memory() -> None:
    assert 10**8 < available_memory() <= total_memory() < 10**14
