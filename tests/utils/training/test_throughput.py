"""The counts of the meter, and its clock, which stops in pauses."""

import time

import pytest
import torch

from bart.modeling.modeling_bart import IGNORE_INDEX, find_target_indices
from tests.tiny_setup import tiny_config
from utils.data.batch import Batch
from utils.training.flops import LengthSums, measured_peak, training_flops
from utils.training.throughput import ThroughputMeter


def batch(source_lengths: list[int], target_lengths: list[int]) -> Batch:
    mask = (torch.arange(max(source_lengths)) < torch.tensor(source_lengths)[:, None]).long()
    hidden = torch.arange(max(*target_lengths, 1)) >= torch.tensor(target_lengths)[:, None]
    labels = torch.full(hidden.shape, 5).masked_fill(hidden, IGNORE_INDEX)
    target_indices, indices = find_target_indices(labels), torch.arange(len(mask))
    return Batch(torch.full_like(mask, 5), mask, True, labels, target_indices, indices, sum(target_lengths))


def test_counts_and_figures() -> None:
    meter = ThroughputMeter(tiny_config(), torch.device("cpu"), torch.float32, waited=5.0)
    start = time.perf_counter()
    assert meter.count(batch([3, 5], [2, 4])).item() == 6
    assert meter.count(batch([7], [0])).item() == 0  # a dummy batch
    meter.pause()
    time.sleep(0.3)
    meter.resume()
    time.sleep(0.05)
    counts = meter.totals(waited=5.02).tolist()
    assert counts == pytest.approx([2, 8, 6, 34, 20, 26, 0.02])
    speed, overall = meter.read(counts, processes=1)
    seconds = overall["seconds"]
    assert 0.05 <= seconds <= time.perf_counter() - start - 0.3
    assert speed["tokens_per_second"] == pytest.approx(14 / seconds)
    assert speed["sequences_per_second"] == pytest.approx(2 / seconds)
    assert speed["share_waiting_for_data"] == pytest.approx(0.02 / seconds)
    operations = training_flops(tiny_config(), LengthSums(2, 8, 6, 34, 20, 26))
    assert speed["share_of_peak"] == pytest.approx(operations / seconds / measured_peak("cpu", torch.float32))

    meter.count(batch([1], [1]))
    again, overall = meter.read(meter.totals(waited=5.02).tolist(), processes=1)
    assert again["share_waiting_for_data"] == 0 and overall["sequences"] == 3 and overall["seconds"] > seconds
