"""Compare the speed of summarize.sh with run_eval.py and with transformers, on the same texts, model and threads.

The texts are prose of Python's documentation, cut to lengths that vary as those of articles do. The three take turns:

    summarize.sh   writes a text file; its seconds are those that it says: all but the loading of the model.
    run_eval.py    started by run_eval_summarization.sh, with the same settings of threads; its seconds are those of the
                   searches alone: without reading, tokenizing, decoding and scoring.
    transformers   tokenizes, sorts by length, searches batch by batch and decodes; the loading is not timed. It takes
                   the best of --transformers_batch_sizes.

With --stream N, a Summarizer reads a stream of N texts instead, and the memory of its process (resident set) is printed
for every 1,000 of them.

Example: python -m scripts.benchmark.compare_summarizing --json compare_summarizing.json
"""

import json
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from multiprocessing.connection import Connection
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np

from bart.errors import InputError
from utils.cli.options import above, at_least, option
from utils.cli.run import run_command
from utils.runtime.hardware import describe_machine
from utils.runtime.processor import processor_cores

ROOT = Path(__file__).parents[2]
_FEWEST_WORDS = 20
_SPREAD = 0.5  # standard deviation of the logarithm of a length, about that of CNN-DM's articles
_SAID = re.compile(r"summaries in [\d.]+ s: ([\d.]+) per second")


@dataclass
class SummarizingArguments:
    """The command line."""

    model: str = option("models/bart_mini", "model", "folder of the model")
    precision: str = option("fp32", "model", "precision of all three", choices=("fp32", "bf16", "fp16"))
    device: str = option("cpu", "model", "device to run on", choices=("cpu", "cuda"))
    texts: int = option(500, "work", "number of texts", check=at_least(1))
    words: float = option(200.0, "work", "median length of a text, in words", check=above(0))
    num_beams: int = option(4, "work", "beams", check=at_least(1))
    max_length: int = option(60, "work", "longest summary, in tokens", check=at_least(4))
    rounds: int = option(3, "work", "runs of each system", check=at_least(1))
    batch_size: int = option(16, "work", "batch size of run_eval.py", check=at_least(1))
    transformers_batch_sizes: str = option("8,16", "work", "batch sizes of transformers, which takes its best")
    stream: int = option(0, "work", "texts of a stream whose memory is measured; 0: compare speeds", check=at_least(0))
    seed: int = option(42, "work", "seed of the texts", check=at_least(0))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Refuse what the model's folder cannot be."""
        if not (Path(self.model) / "config.json").is_file():
            raise InputError(f"--model {self.model}: give a folder with a config.json")


def main(arguments: SummarizingArguments) -> None:
    """Measure and print."""
    texts = make_texts(arguments)
    measure = measure_stream if arguments.stream else compare
    report = {"arguments": asdict(arguments), "machine": describe_machine(), **measure(arguments, texts)}
    if arguments.json is not None:
        from utils.io.json_files import write_json

        write_json(arguments.json, report)


def make_texts(arguments: SummarizingArguments) -> list[str]:
    """Cut prose into texts of log-normal lengths, at random places."""
    words = " ".join(topics[name] for name in sorted(topics)).split()
    random = np.random.default_rng(arguments.seed)
    lengths = np.exp(random.normal(np.log(arguments.words), _SPREAD, arguments.texts)).astype(int) + _FEWEST_WORDS
    starts = random.integers(0, len(words) - int(lengths.max()), arguments.texts)
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


def search_of(arguments: SummarizingArguments) -> dict[str, Any]:
    """Return the settings of the search: those of the CNN-DM configuration, with other lengths."""
    beams = {"length_penalty": 2.0, "early_stopping": True} if arguments.num_beams > 1 else {}
    return {"num_beams": arguments.num_beams, "max_length": arguments.max_length, "no_repeat_ngram_size": 3, **beams}


def compare(arguments: SummarizingArguments, texts: list[str]) -> dict[str, Any]:
    """Let all systems take turns, and print the median of each."""
    systems: dict[str, Any] = {"summarize.sh": run_summarize, "run_eval.py": run_evaluation}
    for size in map(int, arguments.transformers_batch_sizes.split(",")):
        systems[f"transformers, batch {size}"] = lambda *given, size=size: run_transformers(*given, size)
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    summaries: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            for name, run in systems.items():
                place = Path(folder) / f"{number}_{name.split(',')[0]}"
                place.mkdir(exist_ok=True)
                taken, summaries[name] = run(arguments, texts, place)
                seconds[name].append(taken)
                print(f"round {number + 1}: {name}: {taken:.2f} s", file=sys.stderr, flush=True)

    # The table: seconds, and the share of summaries that are those of summarize.sh.
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    first = summaries["summarize.sh"]
    results = [
        {
            "system": name,
            "seconds": taken,
            "median": medians[name],
            "times_the_first": medians[name] / medians["summarize.sh"],
            "same_summaries": statistics.mean(map(str.__eq__, first, summaries[name])),
        }
        for name, taken in seconds.items()
    ]
    print(f"{'':28}{'median s':>10}{'per second':>12}{'times':>8}{'same':>8}")
    for result in results:
        figures = f"{result['median']:10.2f}{len(texts) / result['median']:12.2f}"
        print(f"{result['system']:28}{figures}{result['times_the_first']:8.2f}{result['same_summaries']:8.1%}")
    return {"results": results, "mean_words": statistics.mean(len(text.split()) for text in texts)}


def run_summarize(arguments: SummarizingArguments, texts: list[str], folder: Path) -> tuple[float, list[str]]:
    """Run summarize.sh; return its seconds and summaries."""
    (folder / "in.txt").write_text("".join(f"{text}\n" for text in texts))
    command = ["bash", "scripts/summarize.sh", arguments.model, str(folder / "in.txt")]
    command += ["--output", str(folder / "out.txt"), "--long_documents", "truncate", "--device", arguments.device]
    said = _run([*command, "--precision", arguments.precision, *_flags(search_of(arguments))])
    found = _SAID.search(said)
    assert found is not None, said
    return len(texts) / float(found[1]), (folder / "out.txt").read_text().splitlines()


def run_evaluation(arguments: SummarizingArguments, texts: list[str], folder: Path) -> tuple[float, list[str]]:
    """Run run_eval.py without targets; return the seconds of its searches, and its summaries."""
    from bart.configuration.configuration_bart import BartConfig

    config = BartConfig.from_pretrained(arguments.model).copy(**search_of(arguments), max_new_tokens=None)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    for split in ("source", "target"):
        (folder / f"test.{split}").write_text("".join(f"{text}\n" for text in texts))
    limits = map(str, (config.max_position_embeddings, arguments.max_length))
    num_gpu = "1" if arguments.device == "cuda" else "0"
    settings = [arguments.model, str(arguments.batch_size), num_gpu, arguments.precision, str(arguments.num_beams)]
    files = [str(folder), str(folder / "config.json")]
    _run(["bash", "scripts/run_eval_summarization.sh", *settings, *limits, *files], RESULTS_DIR=str(folder))
    report = json.loads((folder / "test_rouge.json").read_text())
    return len(texts) / report["sequences_per_second"], (folder / "test_generations.txt").read_text().splitlines()


def run_transformers(
    arguments: SummarizingArguments, texts: list[str], folder: Path, batch_size: int
) -> tuple[float, list[str]]:
    """Let transformers summarize in a process of its own; return its seconds and summaries.

    Raises:
        InputError: the process ends without them.
    """
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_transformers, args=(arguments, texts, batch_size, theirs))
    process.start()
    theirs.close()  # so that its end is noticed
    try:
        taken, summaries = connection.recv()
    except EOFError:
        process.join()
        raise InputError(f"transformers: its process ended with code {process.exitcode}; see above") from None
    process.join()
    return taken, summaries


def _transformers(arguments: SummarizingArguments, texts: list[str], batch_size: int, connection: Connection) -> None:
    import torch
    import transformers

    from utils.data.line_files import one_line

    torch.set_num_threads(processor_cores())
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[arguments.precision]
    tokenizer = transformers.AutoTokenizer.from_pretrained(arguments.model)
    model = transformers.BartForConditionalGeneration.from_pretrained(arguments.model, dtype=dtype)
    model = model.to(arguments.device).eval()
    config = model.config

    start = time.perf_counter()
    prefixed = [(getattr(config, "prefix", None) or "") + text for text in texts]
    ids = tokenizer(prefixed, truncation=True, max_length=config.max_position_embeddings)["input_ids"]
    order = sorted(range(len(texts)), key=lambda index: -len(ids[index]))
    summaries = [""] * len(texts)
    for first in range(0, len(order), batch_size):
        rows = order[first : first + batch_size]
        batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(arguments.device)
        with torch.inference_mode():
            outputs = model.generate(**batch, **search_of(arguments), max_new_tokens=None)
        for row, text in zip(rows, tokenizer.batch_decode(outputs, skip_special_tokens=True), strict=True):
            summaries[row] = one_line(text)
    connection.send((time.perf_counter() - start, summaries))


def measure_stream(arguments: SummarizingArguments, texts: list[str]) -> dict[str, Any]:
    """Summarize an endless stream, and print the memory of this process for every 1,000 texts."""
    from utils import Summarizer

    summarizer = Summarizer.from_pretrained(
        arguments.model, device=arguments.device, precision=arguments.precision, **search_of(arguments)
    )
    resident: list[int] = []
    start = time.perf_counter()
    given: Iterator[str] = islice(cycle(texts), arguments.stream)
    for number, _ in enumerate(summarizer(given), start=1):
        if number % 1000 == 0 or number == arguments.stream:
            resident.append(_resident_bytes())
            seconds = time.perf_counter() - start
            print(f"{number:8,} texts{seconds:10.1f} s{resident[-1] / 2**20:10.1f} MiB", flush=True)
    settled = resident[len(resident) // 4]
    print(f"from a quarter of the stream to its end: {(resident[-1] - settled) / 2**20:+.1f} MiB")
    return {"resident_bytes": resident}


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _flags(search: dict[str, Any]) -> list[str]:
    return [word for name, value in search.items() for word in (f"--{name}", json.dumps(value))]


def _run(command: list[str], **variables: str) -> str:
    """Run a command of the checkout; return what it says on stderr."""
    environment = {**os.environ, "PYTHON": sys.executable, **variables}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise InputError(f"{command[1]}: {run.stderr.strip().splitlines()[-1]}")
    return run.stderr


if __name__ == "__main__":
    sys.exit(run_command(SummarizingArguments, __doc__, main))
