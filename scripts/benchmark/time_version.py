"""Times one checkout of this project, with names that all of its versions have. For compare_versions.py.

python scripts/benchmark/time_version.py CHECKOUT prints JSON: seconds of the import of the model, of a training step of
8 texts, and of a search with 4 beams of 16 texts and of one. It imports only from CHECKOUT.
"""

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

MODEL = "models/bart_mini"
_BATCH, _SOURCE, _TARGET = 8, 128, 32  # examples of a training step, tokens of each side
_SEARCHED = (16, 1)  # sources of a search
_BEAMS, _LONGEST = 4, 48
_WARM_UP_STEPS, _STEPS = 5, 30
_SEARCHES = 5
_ORDINARY_TOKENS = 5  # ids below are special


def measure(checkout: Path) -> dict[str, float]:
    """Measure the import, a training step and the searches; the process must have imported nothing else."""
    sys.path[0] = str(checkout)
    start = time.perf_counter()
    from bart.modeling.modeling_bart import BartForConditionalGeneration

    seconds = {"import": time.perf_counter() - start}
    import torch

    torch.manual_seed(0)
    model = BartForConditionalGeneration.from_pretrained(str(checkout / MODEL))
    seconds["training step"] = time_step(model.train())
    model.eval()
    for sources in _SEARCHED:
        seconds[name_of_search(sources)] = time_search(model, sources)
    return seconds


def name_of_search(sources: int) -> str:
    """Return the name of a search in the table."""
    return f"search of {sources}"


def time_step(model: Any) -> float:
    """Return the seconds of forward, backward and optimizer step: the median of some steps after a warm-up."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    sources = random_tokens(model, _BATCH, _SOURCE)
    labels = random_tokens(model, _BATCH, _TARGET)
    loss_sum = model.loss_sum if hasattr(model, "loss_sum") else model.summed_loss  # its name at commit 4babf91
    seconds = []
    for _ in range(_WARM_UP_STEPS + _STEPS):
        start = time.perf_counter()
        loss = loss_sum(sources, None, labels, 0.1) / labels.numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[_WARM_UP_STEPS:])


def time_search(model: Any, sources: int) -> float:
    """Return the seconds of a search that goes to its full length: the median of some after one."""
    import torch

    tokens = random_tokens(model, sources, _SOURCE)
    seconds = []
    for _ in range(1 + _SEARCHES):
        start = time.perf_counter()
        with torch.inference_mode():
            model.generate(tokens, num_beams=_BEAMS, min_length=_LONGEST, max_length=_LONGEST)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def random_tokens(model: Any, rows: int, length: int) -> Any:
    """Draw ordinary token ids (rows, length)."""
    import torch

    generator = torch.Generator().manual_seed(rows * length)
    return torch.randint(_ORDINARY_TOKENS, model.config.vocab_size, (rows, length), generator=generator)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]).resolve())))
