"""Compiles the model's layers if the machine can."""

import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration


def compile_where_possible(model: BartForConditionalGeneration, on_gpu: bool) -> str | None:
    """Have the layers compiled at the first step. Returns a line with the reason if no compiler works, else None."""
    try:
        torch.compile(_double)(torch.ones(8, device="cuda" if on_gpu else "cpu"))
    except Exception as error:  # torch raises many errors without a common base if a compiler is missing or fails
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        return f"--compile: ignored, because a trial failed: {lines[0] if lines else type(error).__name__}"
    model.compile_layers()
    return None


def _double(numbers: torch.Tensor) -> torch.Tensor:
    return numbers * 2
