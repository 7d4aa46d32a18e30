"""Count the kernels that a training step and a step of a search launch on a GPU, without and with Triton kernels.

It counts on the CPU, by Triton's interpreter, with a narrow model that has bart-large's layers: launches depend on the
layers and not on the sizes. scripts/benchmark/launch_counter.py says what counts as a launch. A search step is the
difference between two searches of different lengths.

Example: python -m scripts.benchmark.count_launches --operations 12
"""

import os
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from utils.cli.options import at_least, option
from utils.cli.run import run_command

if TYPE_CHECKING:
    import torch

    from bart.modeling.modeling_bart import BartForConditionalGeneration

# Torch takes seconds to import, so the functions do it.

_D_MODEL, _HEADS, _VOCABULARY = 128, 2, 321  # heads as large as BART's; a vocabulary as odd
_ROWS, _SOURCE, _TARGET = 2, 16, 8
_LENGTHS = (12, 18)  # of two searches within the same window of graphs


@dataclass
class CountArguments:
    """The command line."""

    layers: int = option(12, "model", "layers of the encoder, and of the decoder", check=at_least(1))
    beams: str = option("6,1", "work", "beams of the searches, separated by commas; 1: greedy search")
    operations: int = option(0, "output", "print that many of the most frequent operations of each", check=at_least(0))
    json: str | None = option(None, "output", "file for the counts, as JSON")

    def check(self) -> None:
        """Accept any combination."""


def count(arguments: CountArguments) -> None:
    """Count, print a table, and write JSON if asked for."""
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported
    counts: dict[str, list[Counter[str]]] = {}
    for kernels in (False, True):
        for name, found in count_all(arguments, kernels).items():
            counts.setdefault(name, []).append(found)
    print("\n".join(table(counts)))
    for name, pair in counts.items():
        for title, found in zip(("without", "with"), pair, strict=True):
            if arguments.operations:
                print(f"\n{name}, {title} Triton kernels:")
                for operation, times in found.most_common(arguments.operations):
                    print(f"{times:8,} {operation}")
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, {name: {"without": pair[0], "with": pair[1]} for name, pair in counts.items()})


def table(counts: dict[str, list[Counter[str]]]) -> list[str]:
    """Write a line for each part of the work: launches without and with Triton kernels, and how many those are."""
    from scripts.benchmark.launch_counter import TRITON

    lines = [f"{'launches':36}{'without':>10}{'with Triton':>13}{'of them Triton':>16}"]
    for name, (without, found) in counts.items():
        own = sum(times for operation, times in found.items() if operation.startswith(TRITON))
        lines.append(f"{name:36}{without.total():10,}{found.total():13,}{own:16,}")
    return lines


def count_all(arguments: CountArguments, kernels: bool) -> dict[str, Counter[str]]:
    """Return the launches of each part of a training step and of the searches' steps."""
    import torch

    from scripts.benchmark.launch_counter import LaunchCounter, as_on_a_gpu

    counter = LaunchCounter()
    torch.set_num_threads(1)  # for a narrow model, threads would only wait
    torch.manual_seed(0)
    found: dict[str, Counter[str]] = {}
    with as_on_a_gpu(counter, kernels):
        found |= count_training(counter, make_model(arguments.layers))
        model = make_model(arguments.layers).eval().to(torch.bfloat16).prepack()
        for beams in map(int, arguments.beams.split(",")):
            name = f"search step, {beams} beams" if beams > 1 else "search step, greedy"
            shorter, longer = (count_search(counter, model, beams, length) for length in _LENGTHS)
            steps = _LENGTHS[1] - _LENGTHS[0]
            found[f"{name}: by the host"] = _difference(longer[0], shorter[0], steps)
            found[f"{name}: in graphs"] = _difference(longer[1], shorter[1], steps)
    return found


def make_model(layers: int) -> "BartForConditionalGeneration":
    """Make a narrow model with random weights. Attention has no dropout: on a GPU its kernel does it."""
    from bart.configuration.configuration_bart import BartConfig
    from bart.modeling.modeling_bart import BartForConditionalGeneration

    config = BartConfig(
        vocab_size=_VOCABULARY,
        d_model=_D_MODEL,
        **dict.fromkeys(("encoder_layers", "decoder_layers"), layers),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 2 * _D_MODEL),
        max_position_embeddings=64,
        dropout=0.1,
        attention_dropout=0.0,
        activation_dropout=0.0,
        forced_bos_token_id=None,
    )
    return BartForConditionalGeneration(config)


def count_training(counter: Any, model: "BartForConditionalGeneration") -> dict[str, Counter[str]]:
    """Return the launches of forward pass, backward pass, and clipping with the optimizer's step, in bfloat16.

    They are those of the second step: the first one makes the optimizer's state.
    """
    import torch

    from utils.cli.training_args import OptimizationSettings
    from utils.training.optimization import build_optimizer, clip_gradients

    optimizer = build_optimizer(model.train(), OptimizationSettings())
    sources, labels = _tokens(_ROWS, _SOURCE), _tokens(_ROWS, _TARGET)
    indices = torch.arange(labels.numel())
    parts = ("training step: forward", "training step: backward", "training step: optimizer")
    found: dict[str, Counter[str]] = {}
    for _ in range(2):
        with counter, torch.autocast("cpu", torch.bfloat16):
            loss = model.loss_sum(sources, None, labels, 0.1, indices) / labels.numel()
        found[parts[0]] = _taken(counter)[0]
        with counter:
            loss.backward()
        found[parts[1]] = _taken(counter)[0]
        with counter:
            clip_gradients(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
        found[parts[2]] = _taken(counter)[0]
    found["training step: all"] = sum(found.values(), Counter())
    return found


def count_search(
    counter: Any, model: "BartForConditionalGeneration", beams: int, length: int
) -> tuple[Counter[str], Counter[str]]:
    """Return the launches of a search by the host, and those recorded in its graphs."""
    import torch

    settings = {"num_beams": beams, "min_length": length, "max_length": length, "no_repeat_ngram_size": 3}
    with torch.inference_mode(), counter:
        model.generate(_tokens(_ROWS, _SOURCE), early_stopping=beams > 1, forced_eos_token_id=2, **settings)
    return _taken(counter)


def _tokens(rows: int, length: int) -> "torch.Tensor":
    import torch

    return torch.randint(5, _VOCABULARY - 1, (rows, length), generator=torch.Generator().manual_seed(rows * length))


def _taken(counter: Any) -> tuple[Counter[str], Counter[str]]:
    """Return what was counted, and begin anew."""
    found = Counter(counter.launches), Counter(counter.in_graphs)
    counter.launches.clear()
    counter.in_graphs.clear()
    return found


def _difference(longer: Counter[str], shorter: Counter[str], steps: int) -> Counter[str]:
    """Return the counts of one step."""
    return Counter({name: -(-times // steps) for name, times in (longer - shorter).items()})


if __name__ == "__main__":
    sys.exit(run_command(CountArguments, __doc__, count))
