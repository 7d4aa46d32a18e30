"""Measure the parts of a search's time on the CPU: encoder, decoder layers, output layer, and the search itself.

Example: python -m scripts.benchmark.profile_generation --precision bf16
"""

import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.benchmark.generation_work import CompareArguments, make_sources, write_model
from scripts.benchmark.model_shapes import SHAPES
from utils.cli.options import at_least, option
from utils.cli.run import run_command
from utils.runtime.hardware import describe_machine
from utils.runtime.processor import processor_cores

# Torch takes seconds to import, so the functions do it.


@dataclass
class ProfileArguments:
    """The command line."""

    shape: str = option("base", "model", "size of the model", choices=tuple(SHAPES))
    precision: str = option("fp32", "model", "precision of the weights", choices=("fp32", "bf16", "int8"))
    batch_size: int = option(4, "work", "sources at once", check=at_least(1))
    source_length: int = option(512, "work", "tokens of a source", check=at_least(4))
    target_length: int = option(40, "work", "tokens of an output", check=at_least(4))
    beams: int = option(4, "work", "beams; 1: greedy search", check=at_least(1))
    rounds: int = option(3, "work", "searches that are measured, after one to warm up", check=at_least(1))

    def check(self) -> None:
        """Accept any value."""


@dataclass
class Clock:
    """Seconds and calls by part. The time of a part includes that of the parts within it."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    @contextmanager
    def watch(self, parts: dict[str, list[Any]]) -> Iterator[None]:
        """Time modules until the context ends. The modules of a part must not contain each other."""
        hooks = []
        for part, modules in parts.items():
            started: list[float] = []

            def start(*_: object, started: list[float] = started) -> None:
                started.append(time.perf_counter())

            def stop(*_: object, part: str = part, started: list[float] = started) -> None:
                self.seconds[part] += time.perf_counter() - started.pop()
                self.calls[part] += 1

            for module in modules:
                hooks += [module.register_forward_pre_hook(start), module.register_forward_hook(stop)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def profile(arguments: ProfileArguments) -> None:
    """Measure a search, and print the time of each part."""
    import torch

    from bart.modeling.layers.transformer import DecoderLayer
    from scripts.benchmark.generation_systems import Ours, Search

    torch.set_num_threads(processor_cores())
    names = ("shape", "batch_size", "source_length", "target_length", "beams")
    work = CompareArguments(**{name: getattr(arguments, name) for name in names})
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), work)
        system = Ours(Path(folder), arguments.precision, "cpu")
    sources, search = make_sources(work), Search(work.beams, work.target_length, work.target_length)
    layers = [module for module in system.model.modules() if isinstance(module, DecoderLayer)]
    parts = {
        "encoder": [system.model.model.encoder],
        "decoder layers": layers,
        "  their self-attention": [layer.self_attn for layer in layers],
        "  their cross-attention": [layer.encoder_attn for layer in layers],
        "output layer": [system.model.prepacked_output] if system.model.prepacked_output is not None else [],
    }
    system.generate(sources, search)
    clock = Clock()
    start = time.perf_counter()
    with clock.watch(parts):
        for _ in range(arguments.rounds):
            system.generate(sources, search)
    whole = (time.perf_counter() - start) / arguments.rounds
    print(describe_machine())
    print(f"{'part':26}{'seconds':>9}{'share':>8}{'calls':>8}")
    for part in parts:
        seconds = clock.seconds[part] / arguments.rounds
        print(f"{part:26}{seconds:9.3f}{seconds / whole:8.1%}{clock.calls[part] // arguments.rounds:8}")
    named = sum(clock.seconds[part] for part in ("encoder", "decoder layers", "output layer")) / arguments.rounds
    print(f"{'keys, rules, beams':26}{whole - named:9.3f}{1 - named / whole:8.1%}")
    print(f"{'all':26}{whole:9.3f}{1:8.1%}")


if __name__ == "__main__":
    sys.exit(run_command(ProfileArguments, __doc__, profile))
