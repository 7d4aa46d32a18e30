"""Measure the preparation of tokens on generated documents, and how well they are batched.

Prints the speed beside that of a plain loop over the tokenizer, the memory, the share of padding in an epoch, and the
time to draw the batches of an epoch.

Words are drawn from a made-up vocabulary by Zipf's law; source lengths are log-normal. Each measurement runs in a
process of its own, so that the memory is that of the preparation alone.

Example: python -m scripts.benchmark.prepare_tokens --documents 300000 --json prepare_tokens.json
"""

import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils.cli.options import at_least, option
from utils.cli.run import run_command

if TYPE_CHECKING:
    from bart.tokenization.tokenization_bart import BartTokenizer
    from utils.data.batch_sampler import LengthBucketSampler
    from utils.data.tokens.pair_cache import PreparedPairs

# Transformers takes seconds to import, so the functions do it: --help and a wrong flag are answered at once.

PREFIX = " "
_SYLLABLES = [consonant + vowel for consonant in "bcdfghklmnprstvz" for vowel in ("a", "e", "i", "o", "u", "ay", "en")]
_WORDS = 30_000
_WORDS_PER_TOKENIZER_LINE = 1000
_BATCH_SIZES = (8, 24)
_TOKENS_PER_BATCH = (16384, 32768)


@dataclass
class BenchmarkArguments:
    """The command line."""

    documents: int = option(5000, "data", "documents to generate", check=at_least(2))
    mean_words: float = option(800, "data", "mean number of words of a source", check=at_least(1))
    sigma: float = option(0.6, "data", "sigma of the log-normal source lengths", check=at_least(0))
    target_tokens: float = option(27, "data", "mean number of tokens of a target", check=at_least(4))
    seed: int = option(42, "data", "seed of the documents", check=at_least(0))
    folder: str | None = option(None, "data", "folder to keep the files in (default: a temporary folder)")
    tokenizer_name_or_path: str | None = option(
        None, "tokenizer", "folder or hub id (default: a new one of 20,000 tokens, trained on such documents)"
    )
    max_source_length: int = option(1024, "tokenizer", "tokens of a source at most", check=at_least(2))
    max_target_length: int = option(142, "tokenizer", "tokens of a target at most", check=at_least(2))
    plain_documents: int = option(1000, "output", "documents that the plain loop tokenizes", check=at_least(1))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        """Accept any combination."""


def benchmark(arguments: BenchmarkArguments) -> None:
    """Generate documents, measure and print."""
    from utils.io.json_files import write_json

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = arguments.tokenizer_name_or_path or make_tokenizer(folder / "tokenizer", arguments.seed)
        write_documents(folder, tokenizer, arguments)
        plain = in_own_process(plain_loop, folder, tokenizer, arguments)
        first = in_own_process(prepare_once, folder, tokenizer, arguments)
        second = in_own_process(prepare_once, folder, tokenizer, arguments)
        batches = in_own_process(plan_epochs, folder, tokenizer, arguments)
    report = {
        "arguments": asdict(arguments),
        "machine": f"{platform.machine()}, {multiprocessing.cpu_count()} cores, Python {platform.python_version()}",
        "documents": first["documents"],
        "mean_source_tokens": first["mean_source_tokens"],
        "mean_target_tokens": first["mean_target_tokens"],
        "plain_loop_documents_per_second": plain["documents"] / plain["seconds"],
        "prepared_documents_per_second": first["documents"] / first["seconds"],
        "prepare_seconds": first["seconds"],
        "second_start_seconds": second["seconds"],
        "peak_memory_gb": first["peak_memory_gb"],
        "peak_memory_of_imports_gb": first["memory_before_gb"],
        **batches,
    }
    for name, value in report.items():
        if name != "arguments":
            print(f"{name.replace('_', ' '):44} {value if isinstance(value, str) else format(value, ',.2f')}")
    if arguments.json is not None:
        write_json(Path(arguments.json), report)


def make_tokenizer(folder: Path, seed: int) -> str:
    """Train a tokenizer on other words of the same kind."""
    from bart.tokenization.training import train_tokenizer

    words = islice(zipf_words(np.random.default_rng([seed, 1])), 500 * _WORDS_PER_TOKENIZER_LINE)
    train_tokenizer((" " + " ".join(line) for line in portions(words, _WORDS_PER_TOKENIZER_LINE)), 20_000, folder)
    return str(folder)


def write_documents(folder: Path, tokenizer_name: str, arguments: BenchmarkArguments) -> None:
    """Write the train split; the number of words of a target gives --target_tokens in the mean."""
    from bart.tokenization.tokenization_bart import BartTokenizer

    random = np.random.default_rng([arguments.seed, 0])
    words = zipf_words(random)
    sample = list(islice(words, 5000))
    backend = BartTokenizer.from_pretrained(tokenizer_name).backend_tokenizer
    tokens_per_word = len(backend.encode(PREFIX + " ".join(sample), add_special_tokens=False)) / len(sample)
    target_words = (arguments.target_tokens - 2) / tokens_per_word  # without <s> and </s>
    location = np.log(arguments.mean_words) - arguments.sigma**2 / 2  # of a log-normal of that mean
    with (
        open(folder / "train.source", "w", encoding="utf-8") as sources,
        open(folder / "train.target", "w", encoding="utf-8") as targets,
    ):
        for _ in range(arguments.documents):
            source_words = round(random.lognormal(location, arguments.sigma))
            sources.write(" ".join(islice(words, max(1, source_words))) + "\n")
            targets.write(" ".join(islice(words, max(1, int(random.poisson(target_words))))) + "\n")


def zipf_words(random: np.random.Generator) -> Iterator[str]:
    """Yield words endlessly, the n-th commonest 1/n as often as the commonest; all generators have the same words."""
    spelling = np.random.default_rng(0)
    vocabulary = ["".join(spelling.choice(_SYLLABLES, size=1 + spelling.poisson(1.2))) for _ in range(_WORDS)]
    weights = 1 / np.arange(1, _WORDS + 1)
    while True:
        for number in random.choice(_WORDS, size=100_000, p=weights / weights.sum()):
            yield vocabulary[number]


def portions(words: Iterator[str], size: int) -> Iterator[list[str]]:
    """Yield lists of ``size`` words."""
    while portion := list(islice(words, size)):
        yield portion


def in_own_process(function: Any, *arguments: Any) -> dict[str, float]:
    """Return the result of the function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def plain_loop(folder: Path, tokenizer_name: str, arguments: BenchmarkArguments) -> dict[str, float]:
    """Tokenize one text after another by the tokenizer's own call."""
    from bart.tokenization.tokenization_bart import BartTokenizer
    from utils.data.line_files import iterate_lines

    tokenizer = BartTokenizer.from_pretrained(tokenizer_name)
    pairs = list(
        islice(
            zip(iterate_lines(folder / "train.source"), iterate_lines(folder / "train.target"), strict=True),
            arguments.plain_documents,
        )
    )
    start = time.perf_counter()
    for source, target in pairs:
        tokenizer(PREFIX + source, max_length=arguments.max_source_length, truncation=True)
        tokenizer(PREFIX + target, max_length=arguments.max_target_length, truncation=True)
    return {"documents": len(pairs), "seconds": time.perf_counter() - start}


def prepare_once(folder: Path, tokenizer_name: str, arguments: BenchmarkArguments) -> dict[str, float]:
    """Check the files and find or compute the tokens, as at the start of a training."""
    from bart.tokenization.tokenization_bart import BartTokenizer

    tokenizer = BartTokenizer.from_pretrained(tokenizer_name)
    memory_before = peak_memory_gb()
    start = time.perf_counter()
    prepared = prepare_train(folder, tokenizer, arguments)
    seconds = time.perf_counter() - start
    return {
        "documents": len(prepared.sources),
        "seconds": seconds,
        "mean_source_tokens": float(prepared.sources.lengths.mean()),
        "mean_target_tokens": float(prepared.targets.lengths.mean()),
        "memory_before_gb": memory_before,
        "peak_memory_gb": peak_memory_gb(),
    }


def prepare_train(folder: Path, tokenizer: "BartTokenizer", arguments: BenchmarkArguments) -> "PreparedPairs":
    """Prepare the train split as a training does."""
    from utils.data.splits import scan_split
    from utils.data.tokens.pair_cache import TokenLimits, prepare_pairs

    limits = TokenLimits(PREFIX, arguments.max_source_length, arguments.max_target_length)
    return prepare_pairs(scan_split(folder, "train"), tokenizer, limits)


def plan_epochs(folder: Path, tokenizer_name: str, arguments: BenchmarkArguments) -> dict[str, float]:
    """Return the share of padding for several kinds of batches, and the longest time to draw those of an epoch."""
    from bart.tokenization.tokenization_bart import BartTokenizer
    from utils.data.batch_sampler import LengthBucketSampler

    prepared = prepare_train(folder, BartTokenizer.from_pretrained(tokenizer_name), arguments)
    random = LengthBucketSampler(
        prepared.sources.lengths,
        prepared.targets.lengths,
        batch_size=_BATCH_SIZES[-1],
        accumulation=1,
        seed=arguments.seed,
        group_by_length=False,
    )
    grouped = replace(random, group_by_length=True)
    orders = {f"random_batches_of_{random.batch_size}": random}
    orders |= {f"batches_of_{size}": replace(grouped, batch_size=size) for size in _BATCH_SIZES}
    orders |= {f"batches_of_{tokens}_tokens": replace(grouped, max_tokens=tokens) for tokens in _TOKENS_PER_BATCH}
    shares = {f"percent_padding_of_{name}": 100 * padding_share(order) for name, order in orders.items()}
    return {**shares, "plan_epoch_seconds": max(map(seconds_to_plan, orders.values()))}


def padding_share(order: "LengthBucketSampler") -> float:
    """Padding among all that the model is given in the first epoch, sources and targets together."""
    from utils.data.batch import padded_length

    tokens = int(order.source_lengths.sum() + order.target_lengths.sum())
    plans = order.batches(0, order.steps_per_epoch * order.accumulation)
    given = sum(
        len(plan.indices) * int(padded_length(lengths[plan.indices].max()))
        for plan in plans
        for lengths in (order.source_lengths, order.target_lengths)
    )
    return 1 - tokens / given


def seconds_to_plan(order: "LengthBucketSampler") -> float:
    """Time the drawing of the second epoch, after everything that is computed once."""
    start = time.perf_counter()
    order.steps(1)
    return time.perf_counter() - start


def peak_memory_gb() -> float:
    """Return the peak memory of this process so far, in 10**9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    sys.exit(run_command(BenchmarkArguments, __doc__, benchmark))
