"""Compare the speed of fine-tuning with transformers' model in its Trainer, on the same weights and texts.

Each system runs in a process of its own, so that its memory can be measured. They take turns, so that a machine that
slows down slows both. Dropout, also of attention weights, label smoothing, clipping and AdamW are those of the recipe.

With --mode padded, every source has exactly --source_length tokens and every target --target_length; a turn is one
step. With --mode natural, lengths are log-normal, with means in the proportion of XSum's; a turn is a share of an
epoch. Then transformers runs with its default order and with batches grouped by length, each at the best of
--batch_sizes, and this project at the best of --token_budgets.

Example: python -m scripts.benchmark.compare_training --precisions fp32,bf16 --json compare_training.json
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bart.errors import InputError
from utils.cli.options import at_least, between, option, probability
from utils.cli.run import run_command
from utils.runtime.hardware import describe_machine
from utils.runtime.processor import processor_cores

if TYPE_CHECKING:
    from bart.configuration.configuration_bart import BartConfig

# Torch and transformers take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

ROOT = Path(__file__).parents[2]
SHAPES = {
    "base": {"d_model": 768, "layers": 6, "heads": 12, "ffn": 3072},
    "large": {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096},
    "tiny": {"d_model": 64, "layers": 2, "heads": 4, "ffn": 128},
}
PRECISIONS = ("fp32", "bf16", "fp16")
_SPREAD = 0.6  # standard deviation of the logarithm of a source's length; XSum's texts are about as uneven
_CHECK_STEPS = 10


@dataclass
class CompareArguments:
    """The command line."""

    shape: str = option("base", "model", "size of the model", choices=tuple(SHAPES))
    vocab_size: int = option(50265, "model", "tokens of the vocabulary", check=at_least(100))
    dropout: float = option(0.1, "model", "dropout", check=probability)
    attention_dropout: float = option(0.1, "model", "dropout of attention weights", check=probability)
    freeze_embeds: bool = option(False, "model", "do not train the embeddings, in both systems")
    compile: bool = option(False, "systems", "run this project with --compile")
    systems: str = option(
        "ours,transformers", "systems", "systems to compare, this project first, separated by commas"
    )
    precisions: str = option("fp32", "systems", "some of fp32, bf16 and fp16, separated by commas")
    device: str = option("cpu", "systems", "device to run on", choices=("cpu", "cuda"))
    threads: int = option(0, "systems", "threads on a CPU; 0: as many as there are cores", check=at_least(0))
    keep_freed_memory: str = option(
        "ours", "systems", "systems that keep freed memory in their process, as this project's commands do"
    )
    mode: str = option("padded", "work", "kind of lengths, see above", choices=("padded", "natural"))
    batch_size: int = option(8, "work", "padded: examples of a step", check=at_least(1))
    source_length: int = option(256, "work", "padded: tokens of a source; natural: the maximum", check=at_least(30))
    target_length: int = option(64, "work", "padded: tokens of a target; natural: the maximum", check=at_least(8))
    documents: int = option(256, "work", "natural: examples of an epoch", check=at_least(8))
    turn: float = option(0.25, "work", "natural: share of the epoch that a turn takes", check=between(0, 1))
    batch_sizes: str = option("4,8,16", "work", "natural: batch sizes of transformers")
    token_budgets: str = option("1280,2560,5120", "work", "natural: this project's values of --max_tokens_per_batch")
    rounds: int = option(3, "work", "turns of each system, after two steps to warm up", check=at_least(1))
    check_losses: bool = option(False, "work", "compare the losses of ten steps without dropout, instead of the speed")
    label_smoothing: float = option(0.1, "work", "label smoothing", check=between(0, 1))
    seed: int = option(42, "work", "seed of weights, texts and order", check=at_least(0))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Raise InputError for an unknown system or precision."""
        for flag, known in (("systems", ("ours", "transformers")), ("precisions", PRECISIONS)):
            for name in getattr(self, flag).split(","):
                if name not in known:
                    raise InputError(f"--{flag} {name}: give some of {', '.join(known)}")


class Worker:
    """A system in a process of its own."""

    def __init__(self, name: str, work_path: Path) -> None:
        self._command = [sys.executable, "-m", "scripts.benchmark.training_systems", name, str(work_path)]
        self.name = name
        self._log = (work_path.parent / f"{name}.log").open("w+")
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def restart(self) -> None:
        """Go on in a new process, so that the memory measured is that of one training."""
        self._end()
        self._start()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a request and return its answer. Raises InputError with the last output if the process ends instead."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._process.wait()
            self._log.seek(0)
            said = [line for line in self._log.read().splitlines() if line.strip()]
            raise InputError(f"--systems {self.name}: its process ended: {said[-1] if said else 'it printed nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        self._end()
        self._log.close()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def compare(arguments: CompareArguments) -> None:
    """Measure each system in each precision, and print a table."""
    report: dict[str, Any] = {"arguments": asdict(arguments), "machine": describe_machine(), "results": []}
    measure = {"padded": measure_padded, "natural": measure_natural}[arguments.mode]
    if arguments.check_losses:
        measure = check_losses
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), arguments)
        for precision in arguments.precisions.split(","):
            with workers(Path(folder), arguments) as systems:
                results = measure(arguments, systems, precision)
            print("\n".join(lines(results)), flush=True)
            report["results"] += results
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, report)


@contextmanager
def workers(folder: Path, arguments: CompareArguments) -> Iterator[list[Worker]]:
    """Start the systems, anew for each precision, so that the memory of each run is its own."""
    source_lengths, target_lengths = make_lengths(arguments)
    work = {
        "model": str(folder),
        "source_lengths": source_lengths,
        "target_lengths": target_lengths,
        "threads": arguments.threads or processor_cores(),
        "keep_freed_memory": arguments.keep_freed_memory.split(","),
        **{
            name: getattr(arguments, name)
            for name in ("vocab_size", "freeze_embeds", "compile", "label_smoothing", "device", "seed")
        },
    }
    path = folder / "work.json"
    path.write_text(json.dumps(work), encoding="utf-8")
    started = [Worker(name, path) for name in arguments.systems.split(",")]
    try:
        yield started
    finally:
        for worker in started:
            worker.close()


def write_model(folder: Path, arguments: CompareArguments) -> None:
    """Write a Hugging Face folder with random weights, which both systems read."""
    import torch

    from bart.modeling.modeling_bart import BartForConditionalGeneration

    torch.manual_seed(arguments.seed)
    BartForConditionalGeneration(make_config(arguments)).save_pretrained(folder)


def make_config(arguments: CompareArguments) -> "BartConfig":
    """Make the configuration of the model."""
    from bart.configuration.configuration_bart import BartConfig

    shape = SHAPES[arguments.shape]
    return BartConfig(
        vocab_size=arguments.vocab_size,
        d_model=shape["d_model"],
        **dict.fromkeys(("encoder_layers", "decoder_layers"), shape["layers"]),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), shape["heads"]),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), shape["ffn"]),
        max_position_embeddings=1024,
        dropout=0.0 if arguments.check_losses else arguments.dropout,
        attention_dropout=0.0 if arguments.check_losses else arguments.attention_dropout,
        activation_dropout=0.0,
    )


def make_lengths(arguments: CompareArguments) -> tuple[list[int], list[int]]:
    """Draw the tokens of each source and target. A mean natural source is about half of the longest, as XSum's 480."""
    if arguments.mode == "padded":
        examples = arguments.batch_size * _CHECK_STEPS
        return [arguments.source_length] * examples, [arguments.target_length] * examples
    random = np.random.default_rng(arguments.seed)
    shares = random.lognormal(np.log(0.45) - _SPREAD**2 / 2, _SPREAD, arguments.documents)
    sources = np.clip(np.round(shares * arguments.source_length), 30, arguments.source_length)
    targets = np.clip(np.round(random.normal(0.42, 0.12, arguments.documents) * arguments.target_length), 8, None)
    return sources.astype(int).tolist(), np.minimum(targets, arguments.target_length).astype(int).tolist()


def measure_padded(arguments: CompareArguments, systems: Sequence[Worker], precision: str) -> list[dict[str, Any]]:
    """Measure the median step of each system; the systems take turns, step by step."""
    settings = {"batch_size": arguments.batch_size, "precision": precision, "sampling": "random"}
    answers: dict[str, list[dict[str, Any]]] = {system.name: [] for system in systems}
    for system in systems:
        system.ask({"start": settings})
        system.ask({"steps": 2})
    for _ in range(arguments.rounds):
        for system in systems:
            answers[system.name].append(system.ask({"steps": 1}))
    share = _operations(arguments, arguments.batch_size) / systems[0].ask({"peak": precision})["peak"]
    return [_result(name, precision, settings, answers[name], share) for name in answers]


def measure_natural(arguments: CompareArguments, systems: Sequence[Worker], precision: str) -> list[dict[str, Any]]:
    """Measure a share of an epoch ``rounds`` times per setting; return the best setting of each system and order."""
    from scripts.benchmark.training_systems import training_order

    lengths = dict(zip(("source_lengths", "target_lengths"), make_lengths(arguments), strict=True))
    plans: list[tuple[Worker, dict[str, Any], int]] = []
    for system in systems:
        if system.name == "ours":
            for budget in map(int, arguments.token_budgets.split(",")):
                settings = {"max_tokens": budget, "precision": precision, "sampling": "length groups"}
                plans.append((system, settings, training_order({**lengths, "seed": 0}, settings).steps_per_epoch))
            continue
        for sampling in ("random", "group_by_length"):
            for size in map(int, arguments.batch_sizes.split(",")):
                settings = {"batch_size": size, "precision": precision, "sampling": sampling}
                plans.append((system, settings, -(-arguments.documents // size)))
    answers: list[list[dict[str, Any]]] = [[] for _ in plans]
    for _ in range(arguments.rounds):
        for (system, settings, steps), found in zip(plans, answers, strict=True):
            system.restart()
            system.ask({"start": settings})
            system.ask({"steps": 2})
            found.append(system.ask({"steps": max(1, round(arguments.turn * steps))}))
    share = arguments.turn * _operations(arguments, arguments.documents) / systems[0].ask({"peak": precision})["peak"]
    results = [
        _result(system.name, precision, settings, found, share)
        for (system, settings, _), found in zip(plans, answers, strict=True)
    ]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        key = result["system"], result["settings"]["sampling"]
        if key not in best or result["tokens_per_second"] > best[key]["tokens_per_second"]:
            best[key] = {**result, "others": [other for other in results if other["settings"] != result["settings"]]}
    return list(best.values())


def check_losses(arguments: CompareArguments, systems: Sequence[Worker], precision: str) -> list[dict[str, Any]]:
    """Return both systems' losses on the same batches in the same order, and their largest relative difference."""
    settings = {
        "batch_size": arguments.batch_size,
        "precision": precision,
        "sampling": "ours",
        "planned_steps": 2 * _CHECK_STEPS,
    }
    losses = []
    for system in systems:
        system.ask({"start": settings})
        losses.append(system.ask({"steps": _CHECK_STEPS})["losses"])
    return [
        {
            "system": system.name,
            "precision": precision,
            "losses": found,
            "largest_difference": max(abs(loss / first - 1) for loss, first in zip(found, losses[0], strict=True)),
        }
        for system, found in zip(systems, losses, strict=True)
    ]


def _operations(arguments: CompareArguments, examples: int) -> float:
    """Return the floating-point operations of the matrix products for that many examples, without padding."""
    from utils.training.flops import LengthSums, training_flops

    sources, targets = (np.array(lengths[:examples], dtype=float) for lengths in make_lengths(arguments))
    products = ((sources**2).sum(), (targets**2).sum(), (sources * targets).sum())
    return training_flops(make_config(arguments), LengthSums(examples, sources.sum(), targets.sum(), *products))


def _result(
    name: str, precision: str, settings: dict[str, Any], answers: Sequence[dict[str, Any]], seconds_at_peak: float
) -> dict[str, Any]:
    """Summarize the turns of a system; ``seconds_at_peak`` is the time of a turn at the measured peak."""
    seconds = [answer["seconds"] for answer in answers]
    return {
        "system": name,
        "precision": precision,
        "settings": settings,
        "seconds": statistics.median(seconds),
        "all_seconds": seconds,
        "tokens_per_second": statistics.median(answer["tokens"] / answer["seconds"] for answer in answers),
        "share_of_peak": seconds_at_peak / statistics.median(seconds),
        "peak_gb": max(answer["peak_bytes"] for answer in answers) / 1e9,
    }


def lines(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield a table: the figures of each system, and how many times as fast this project was."""
    if "losses" in results[0]:
        for result in results:
            losses = " ".join(f"{loss:.5f}" for loss in result["losses"])
            yield f"{result['system']:14}{result['precision']:6}{losses}  differs by {result['largest_difference']:.1e}"
        return
    titles = "".join(f"{title:>9}" for title in ("seconds", "tokens/s", "ours is", "of peak", "peak GB"))
    yield f"{'system':14}{'':7}{'order of texts':28}{titles}"
    ours = {result["precision"]: result["tokens_per_second"] for result in results if result["system"] == "ours"}
    for result in results:
        settings = result["settings"]
        size = f"{settings['max_tokens']} tokens" if "max_tokens" in settings else f"batch {settings['batch_size']}"
        order = f"{settings['sampling']}, {size}"
        ratio = ours.get(result["precision"], float("nan")) / result["tokens_per_second"]
        yield (
            f"{result['system']:14}{result['precision']:7}{order:28}{result['seconds']:9.2f}"
            f"{result['tokens_per_second']:9,.0f}{ratio:9.2f}{result['share_of_peak']:9.1%}{result['peak_gb']:9.2f}"
        )


if __name__ == "__main__":
    sys.exit(run_command(CompareArguments, __doc__, compare))
