"""Compiling the model's layers, where the machine can."""

import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration


def compile_where_possible(model: BartForConditionalGeneration, on_gpu: bool) -> str | None:
    """Have the layers compiled at the first step. Returns why not, where there is no working compiler."""
    try:
        torch.compile(_double)(torch.ones(8, device="cuda" if on_gpu else "cpu"))
    except Exception as error:  # torch has many kinds, and none in common, for a compiler that is missing or fails
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"--compile: left out, as a trial failed: {lines[0] if lines else type(error).__name__}"
    model.compile_layers()
    return None


def _double(numbers: torch.Tensor) -> torch.Tensor:
    return numbers * 2
