"""What safe checkpoints cost, measured with a tiny model."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from scripts.benchmark.checkpoint_cost import training_state
from tests.tiny_setup import tiny_config
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


def measure(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.benchmark.checkpoint_cost", "--repeats", "1", "--pairs", "1", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


def test_the_state_is_as_large_as_a_trainings() -> None:
    """Moments of the tied embeddings once, as AdamW has them."""
    model = BartForConditionalGeneration(tiny_config())
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    (measured,) = training_state(tiny_config())["optimizer_states"]
    assert shapes(measured["state"]) == shapes(optimizer.state_dict()["state"])


def shapes(moments: dict[int, dict[str, torch.Tensor]]) -> list[list[torch.Size]]:
    return [[moment[name].shape for name in ("exp_avg", "exp_avg_sq")] for moment in moments.values()]


@pytest.mark.slow
def test_saves(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "config_tiny.json")
    process = measure("--config", config, "--steps", "0", "--json", str(tmp_path / "cost.json"))
    assert process.returncode == 0, process.stderr
    saves = read_json(tmp_path / "cost.json")["saves"]
    assert saves["bytes"] > 1e6 and saves["save_here"] > 0 and saves["read"] > 0


@pytest.mark.parametrize("steps", ["10", "-1"])
def test_too_few_steps_are_refused(steps: str) -> None:
    process = measure("--steps", steps)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: --steps {steps}: give 0, or 20 or more")
    assert process.stderr.count("\n") == 1


@pytest.mark.slow
def test_trainings(tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "config_tiny.json")
    process = measure("--config", config, "--steps", "20", "--json", str(tmp_path / "cost.json"))
    assert process.returncode == 0, process.stderr
    trainings = read_json(tmp_path / "cost.json")["training"]
    assert all(training["seconds_per_million_tokens"][0] > 0 for training in trainings.values())
