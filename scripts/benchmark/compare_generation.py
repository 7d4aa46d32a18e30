"""Compare the speed of beam search with transformers and CTranslate2, on the same random weights and inputs.

The systems take turns, so that a machine that slows down slows all of them; what counts is the ratio of the medians.

With --mode padded, every source has exactly --source_length tokens and every output exactly --target_length. With
--mode natural, sources have 100 to 900 tokens and outputs end by themselves (the end of sentence is made likelier);
each system sorts by length and takes the best of the batch sizes in --natural_batch_sizes.

Example: python -m scripts.benchmark.compare_generation --precisions fp32,bf16 --json compare_generation.json
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bart.errors import InputError
from utils.cli.options import at_least, option
from utils.cli.run import run_command
from utils.runtime.hardware import describe_machine
from utils.runtime.malloc import keep_freed_memory
from utils.runtime.processor import processor_cores

if TYPE_CHECKING:
    from scripts.benchmark.generation_systems import Search, System

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

SHAPES = {
    "base": {"d_model": 768, "layers": 6, "heads": 12, "ffn": 3072},
    "large": {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096},
    "tiny": {"d_model": 64, "layers": 2, "heads": 4, "ffn": 128},
}
_FEWEST_NATURAL, _MOST_NATURAL = 100, 900  # tokens of a source
_ORDINARY_TOKENS = 5  # ids below are special


@dataclass
class CompareArguments:
    """The command line."""

    shape: str = option("base", "model", "size of the model", choices=tuple(SHAPES))
    vocab_size: int = option(50265, "model", "tokens of the vocabulary", check=at_least(100))
    systems: str = option(
        "ours,transformers,ctranslate2", "systems", "systems to compare, this project first, separated by commas"
    )
    precisions: str = option("fp32", "systems", "some of fp32, bf16, fp16 and int8, separated by commas")
    device: str = option("cpu", "systems", "device to run on", choices=("cpu", "cuda"))
    apart: bool = option(True, "systems", "run each system in a process of its own")
    keep_freed_memory: str = option(
        "ours", "systems", "systems that keep freed memory in their process, as this project's commands do"
    )
    threads: int = option(0, "systems", "threads on a CPU; 0: as many as there are cores", check=at_least(0))
    mode: str = option("padded", "work", "kind of lengths, see above", choices=("padded", "natural"))
    batch_size: int = option(4, "work", "padded: sources at once", check=at_least(1))
    source_length: int = option(512, "work", "padded: tokens of a source", check=at_least(4))
    target_length: int = option(40, "work", "padded: tokens of an output; natural: the maximum", check=at_least(4))
    beams: int = option(4, "work", "beams", check=at_least(2))
    documents: int = option(64, "work", "natural: number of sources", check=at_least(1))
    natural_batch_sizes: str = option("4,8,16", "work", "natural: batch sizes, of which each system takes its best")
    eos_bias: float = option(6.8, "work", "natural: number added to the logits of the end of sentence")
    rounds: int = option(3, "work", "runs of each system, after a batch to warm up", check=at_least(1))
    seed: int = option(42, "work", "seed of weights and sources", check=at_least(0))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Accept any combination: making a system finds out whether it has a precision."""


def compare(arguments: CompareArguments) -> list[dict[str, Any]]:
    """Measure and print; return the results of each system and precision."""
    import torch

    from scripts.benchmark.generation_systems import Search

    torch.set_num_threads(arguments.threads or processor_cores())
    natural = arguments.mode == "natural"
    search = Search(arguments.beams, 4 if natural else arguments.target_length, arguments.target_length)
    sources = make_sources(arguments)
    report: dict[str, Any] = {"arguments": asdict(arguments), "machine": describe_machine(), "results": []}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), arguments)
        for precision in arguments.precisions.split(","):
            systems = make_systems(arguments.systems.split(","), Path(folder), precision, arguments)
            sizes = arguments.natural_batch_sizes if natural else str(arguments.batch_size)
            batch_sizes = list(map(int, sizes.split(",")))
            report["results"] += measure(systems, sources, search, batch_sizes, arguments.rounds, precision)
            for system in systems:
                if isinstance(system, SystemApart):
                    system.close()
    print_table(report["results"])
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, report)
    return list(report["results"])


def make_sources(arguments: CompareArguments) -> list[np.ndarray]:
    """Draw the token ids <s> ... </s> of each source."""
    random = np.random.default_rng(arguments.seed)
    if arguments.mode == "natural":
        lengths = random.integers(_FEWEST_NATURAL, _MOST_NATURAL + 1, arguments.documents)
    else:
        lengths = np.full(arguments.batch_size, arguments.source_length)
    ordinary = (random.integers(_ORDINARY_TOKENS, arguments.vocab_size - 1, length - 2) for length in lengths)
    return [np.concatenate([[0], tokens, [2]]) for tokens in ordinary]


def write_model(folder: Path, arguments: CompareArguments) -> None:
    """Write a Hugging Face folder with random weights and a made-up vocabulary, which CTranslate2 reads too."""
    import torch

    from bart.configuration.configuration_bart import BartConfig
    from bart.modeling.modeling_bart import BartForConditionalGeneration
    from bart.tokenization.tokenization_bart import BartTokenizer

    shape = SHAPES[arguments.shape]
    config = BartConfig(
        vocab_size=arguments.vocab_size,
        d_model=shape["d_model"],
        **dict.fromkeys(("encoder_layers", "decoder_layers"), shape["layers"]),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), shape["heads"]),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), shape["ffn"]),
        max_position_embeddings=1024,
        init_std=0.06,  # so that outputs differ; with 0.02 a random model says little
        forced_bos_token_id=None,
    )
    torch.manual_seed(arguments.seed)
    model = BartForConditionalGeneration(config)
    if arguments.mode == "natural":
        model.final_logits_bias[:, config.eos_token_id] = arguments.eos_bias
    model.save_pretrained(folder)
    made_up = (f"w{number}" for number in range(4, arguments.vocab_size - 1))
    vocabulary = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *made_up, "<mask>"])}
    BartTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


def make_systems(
    names: Sequence[str], folder: Path, precision: str, arguments: CompareArguments
) -> list["System | SystemApart"]:
    """Make the systems that are installed, and print a line for each other one. This project's own must work."""
    from scripts.benchmark.generation_systems import SYSTEMS

    systems: list[System | SystemApart] = []
    for name in names:
        try:
            if arguments.apart:
                systems.append(SystemApart(name, folder, precision, arguments))
            else:
                systems.append(SYSTEMS[name](folder, precision, arguments.device))
        except (ImportError, KeyError, ValueError, RuntimeError) as error:
            if isinstance(error, InputError):  # of this project, with which the others are compared
                raise
            print(f"left out: {name} in {precision}: {str(error).splitlines()[0]}", file=sys.stderr)
    return systems


class SystemApart:
    """A system in a process of its own, undisturbed by the threads and memory of the others."""

    def __init__(self, name: str, folder: Path, precision: str, arguments: CompareArguments) -> None:
        """Start the process. Raises what the system raises if it cannot be made."""
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        keep = name in arguments.keep_freed_memory.split(",")
        self._process = context.Process(
            target=_serve,
            args=(theirs, name, folder, precision, arguments.device, arguments.threads, keep),
            daemon=True,
        )
        self._process.start()
        theirs.close()
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        self.name: str = answer

    def generate_all(
        self, sources: Sequence[np.ndarray], search: "Search", batch_size: int
    ) -> tuple[list[list[int]], float]:
        self._connection.send((sources, search, batch_size))
        answer: tuple[list[list[int]], float] = self._connection.recv()
        return answer

    def close(self) -> None:
        self._connection.close()  # which ends it
        self._process.join()


def _serve(
    connection: Connection, name: str, folder: Path, precision: str, device: str, threads: int, keep: bool
) -> None:
    import torch

    from scripts.benchmark.generation_systems import SYSTEMS

    if keep and device == "cpu":
        keep_freed_memory()
    torch.set_num_threads(threads or processor_cores())
    try:
        system = SYSTEMS[name](folder, precision, device)
    except (ImportError, KeyError, ValueError, RuntimeError) as error:
        connection.send(error)
        return
    connection.send(system.name)
    with suppress(EOFError):
        while True:
            connection.send(_timed(system, *connection.recv()))


def _timed(
    system: "System", sources: Sequence[np.ndarray], search: "Search", batch_size: int
) -> tuple[list[list[int]], float]:
    start = time.perf_counter()
    return generate_all(system, sources, search, batch_size), time.perf_counter() - start


def measure(
    systems: Sequence["System | SystemApart"],
    sources: Sequence[np.ndarray],
    search: "Search",
    batch_sizes: Sequence[int],
    rounds: int,
    precision: str,
) -> list[dict[str, Any]]:
    """Return each system's median seconds at its best batch size, and compare its outputs with those of the first."""
    seconds: dict[tuple[int, int], list[float]] = {}
    outputs: dict[int, list[list[int]]] = {}
    for round_number in range(rounds + 1):  # the first one warms up
        for batch_size in batch_sizes:
            for index, system in enumerate(systems):
                work = sources if round_number > 0 else sources[:batch_size]
                if isinstance(system, SystemApart):
                    outputs[index], duration = system.generate_all(work, search, batch_size)
                else:
                    outputs[index], duration = _timed(system, work, search, batch_size)
                if round_number > 0:
                    seconds.setdefault((index, batch_size), []).append(duration)
    results = []
    for index, system in enumerate(systems):
        medians = {size: statistics.median(seconds[index, size]) for size in batch_sizes}
        best = min(medians, key=medians.__getitem__)
        lengths = [len(output) for output in outputs[index]]
        results.append(
            {
                "system": system.name,
                "precision": precision,
                "seconds": medians[best],
                "all_seconds": seconds[index, best],
                "batch_size": best,
                "times_the_first": medians[best] / min(statistics.median(seconds[0, size]) for size in batch_sizes),
                "mean_output_tokens": statistics.mean(lengths),
                "output_tokens": sorted(lengths),
                "same_outputs": statistics.mean(
                    ours == theirs for ours, theirs in zip(outputs[0], outputs[index], strict=True)
                ),
            }
        )
    return results


def generate_all(system: "System", sources: Sequence[np.ndarray], search: "Search", batch_size: int) -> list[list[int]]:
    """Generate for all sources in batches of similar length, the longest first; return the outputs in order."""
    order = sorted(range(len(sources)), key=lambda row: -len(sources[row]))
    outputs: dict[int, list[int]] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        outputs |= zip(rows, system.generate([sources[row] for row in rows], search), strict=True)
    return [outputs[row] for row in range(len(sources))]


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print a line for each system."""
    print(f"{'system':32}{'seconds':>9}{'batch':>7}{'times ours':>12}{'tokens':>9}{'from-to':>9}{'same outputs':>14}")
    for result in results:
        lengths = result["output_tokens"]
        print(
            f"{result['system']:32}{result['seconds']:9.3f}{result['batch_size']:7}{result['times_the_first']:12.2f}"
            f"{result['mean_output_tokens']:9.1f}{f'{lengths[0]}-{lengths[-1]}':>9}{result['same_outputs']:14.0%}"
        )


def main(arguments: CompareArguments) -> None:
    """Run the comparison; the JSON file holds more than the table."""
    compare(arguments)


if __name__ == "__main__":
    sys.exit(run_command(CompareArguments, __doc__, main))
