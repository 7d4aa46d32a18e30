"""Compare the speed of beam search with transformers and CTranslate2, on the same random weights and inputs.

The systems take turns, so that a machine that slows down slows all of them; what counts is the ratio of the medians.

With --mode padded, every source has exactly --source_length tokens and every output exactly --target_length. With
--mode natural, sources have 100 to 900 tokens and outputs end by themselves (the end of sentence is made likelier);
each system sorts by length and takes the best of the batch sizes in --natural_batch_sizes. With --mode uniform, sources
have --shortest_source to --source_length tokens, each length as likely as another. --preset names whole works.

Example: python -m scripts.benchmark.compare_generation --precisions fp32,bf16 --json compare_generation.json
"""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bart.errors import InputError
from scripts.benchmark.generation_work import PUBLISHED, CompareArguments, make_sources, write_model
from scripts.benchmark.system_apart import SystemApart, timed
from utils.cli.run import run_command
from utils.runtime.hardware import describe_machine
from utils.runtime.processor import processor_cores

if TYPE_CHECKING:
    from scripts.benchmark.generation_systems import Search, System

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.


def compare(arguments: CompareArguments) -> list[dict[str, Any]]:
    """Measure and print; return the results of each work, system and precision."""
    import torch

    works = arguments.works()
    torch.set_num_threads(arguments.threads or processor_cores())
    report: dict[str, Any] = {"arguments": asdict(arguments), "machine": describe_machine(), "results": []}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), works[0])
        for precision in works[0].precisions.split(","):
            systems = make_systems(works[0].systems.split(","), Path(folder), precision, works[0])
            for work in works:
                report["results"] += measure_work(systems, work, precision)
            for system in systems:
                if isinstance(system, SystemApart):
                    system.close()
    print_table(report["results"])
    if arguments.preset is not None:
        print_beside_published(report["results"], PUBLISHED[arguments.preset])
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, report)
    return list(report["results"])


def measure_work(
    systems: Sequence["System | SystemApart"], work: CompareArguments, precision: str
) -> list[dict[str, Any]]:
    """Return the results of each system for the sources and batch sizes of a work."""
    from scripts.benchmark.generation_systems import Search

    natural = work.mode == "natural"
    search = Search(work.beams, 4 if natural else work.target_length, work.target_length)
    sizes = work.natural_batch_sizes if natural else str(work.batch_size)
    batch_sizes = list(map(int, sizes.split(",")))
    return measure(systems, make_sources(work), search, batch_sizes, work.rounds, precision)


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
                    outputs[index], duration = timed(system, work, search, batch_size)
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
                "sequences_per_second": len(lengths) / medians[best],
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


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """Print a line for each system."""
    print(f"{'system':32}{'seconds':>9}{'batch':>7}{'times ours':>12}{'tokens':>9}{'from-to':>9}{'same outputs':>14}")
    for result in results:
        lengths = result["output_tokens"]
        print(
            f"{result['system']:32}{result['seconds']:9.3f}{result['batch_size']:7}{result['times_the_first']:12.2f}"
            f"{result['mean_output_tokens']:9.1f}{f'{lengths[0]}-{lengths[-1]}':>9}{result['same_outputs']:14.0%}"
        )


def print_beside_published(results: Sequence[dict[str, Any]], published: dict[int, float]) -> None:
    """Print the sequences per second of each batch size beside published ones, which are those of an H100."""
    for result in results:
        line = f"{result['system']}, batch {result['batch_size']}: {result['sequences_per_second']:,.1f} sequences/s"
        figure = published.get(result["batch_size"])
        if figure is not None:
            ratio = result["sequences_per_second"] / figure
            line += f"; published for TensorRT-LLM on an H100: {figure:g}, so {ratio:.2f} times as many"
        print(line)


def main(arguments: CompareArguments) -> None:
    """Run the comparison; the JSON file holds more than the table."""
    compare(arguments)


if __name__ == "__main__":
    sys.exit(run_command(CompareArguments, __doc__, main))
