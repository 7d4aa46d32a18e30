"""What counts as a launch, and that the counts of a step, of shapes and of graphs are plausible."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from bart.modeling.kernels.trial import add_one
from scripts.benchmark.count_launches import CountArguments, count
from scripts.benchmark.count_shapes import ShapeArguments
from scripts.benchmark.count_shapes import count as count_shapes
from scripts.benchmark.launch_counter import LaunchCounter, as_on_a_gpu
from utils.io.json_files import read_json


def test_views_allocations_and_seeds_launch_nothing() -> None:
    states = torch.ones(4, 6, requires_grad=True)
    with LaunchCounter() as counter:
        torch.empty(3).view(1, 3)
        torch.randint(2**63 - 1, ())
        states.detach().transpose(0, 1)[1:].expand(2, 5, 4)
    assert not counter.launches
    with counter:
        (F.linear(states, torch.full((2, 6), 1.0)).contiguous() + 1).sum().backward()
    found = {"full": 1, "mm": 2, "add": 1, "sum": 1, "ones_like": 1}  # the second product is the gradient's
    assert counter.launches == found


def test_a_kernel_of_triton_is_one_launch() -> None:
    counter, values = LaunchCounter(), torch.zeros(300)
    with as_on_a_gpu(counter, kernels=True), counter:
        add_one(values)
        values.mul_(2)
    assert counter.launches == {"Triton: _add_one": 1, "mul_": 1} and (values == 2).all()


@pytest.mark.slow
def test_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Launches grow with the layers; those of a search step are in one graph."""
    found = []
    for layers in (1, 2):
        path = tmp_path / f"{layers}.json"
        count(CountArguments(layers=layers, beams="3", json=str(path), operations=2))
        found.append(read_json(path))
    names = [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"training step: all", "search step, 3 beams: by the host", "search step, 3 beams: in graphs"} <= set(names)
    of_one, of_two = ({name: pair["without"] for name, pair in counts.items()} for counts in found)
    forward, backward = "training step: forward", "training step: backward"
    assert of_one[forward]["_scaled_dot_product_flash_attention_for_cpu"] == 3
    assert of_two[backward]["_scaled_dot_product_flash_attention_for_cpu_backward"] == 6
    assert sum(of_two["training step: all"].values()) > 1.3 * sum(of_one["training step: all"].values())
    by_host, in_graphs = "search step, 3 beams: by the host", "search step, 3 beams: in graphs"
    assert of_one[by_host]["CUDA graph"] == of_two[by_host]["CUDA graph"] == 1
    assert sum(of_one[by_host].values()) == sum(of_two[by_host].values())
    assert sum(of_one[in_graphs].values()) < sum(of_two[in_graphs].values())


def test_shapes_and_graphs(tmp_path: Path) -> None:
    """What docs/benchmarks.md says of them."""
    count_shapes(ShapeArguments(searched=256, json=str(tmp_path / "shapes.json")))
    report = read_json(tmp_path / "shapes.json")
    assert report["few"]["shapes"] <= 40 < report["exact"]["shapes"] and report["more_tokens"] < 0.08
    assert 4 <= report["graphs"] <= 40
