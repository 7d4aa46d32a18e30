"""Measure the choice by consensus: seconds for each utility, and a sample of pairs compared with rouge-score.

The candidates of a source are a passage of the texts in which words are replaced at random, so that they differ as
samples of a model do. One process does the work; on a machine in use its processor time says more than the clock. The
first utility stems all words, and the others find the stems in the cache.

Example: python -m scripts.benchmark.rerank_candidates --sources 1000 --candidates 48 --words 25
"""

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bart.errors import InputError
from utils.cli.options import at_least, option
from utils.cli.rerank_args import UTILITIES
from utils.cli.run import run_command

# numpy, nltk and torch take seconds to import, so the functions do it: --help and a wrong flag are answered at once.

ROOT = Path(__file__).parents[2]
_LARGEST_DIFFERENCE = 1e-9


@dataclass
class RerankArguments:
    """The command line."""

    sources: int = option(1000, "data", "sources, each with its pool of candidates", check=at_least(1))
    candidates: int = option(48, "data", "candidates of each source", check=at_least(1))
    words: int = option(25, "data", "words of each candidate", check=at_least(1))
    replaced: int = option(30, "data", "percent of the words that are replaced in each candidate", check=at_least(0))
    texts: str | None = option(None, "data", "text file that the words are taken from (default: docs/*.md)")
    seed: int = option(42, "data", "seed of the candidates", check=at_least(0))
    verified_pairs: int = option(2000, "output", "pairs that rouge-score scores too", check=at_least(1))
    json: str | None = option(None, "output", "file for the figures, as JSON")

    def check(self) -> None:
        if self.replaced > 100:
            raise InputError(f"--replaced {self.replaced}: give percent, 0 to 100")


def measure(arguments: RerankArguments) -> None:
    """Print the figures, and write them to --json if it is given. Raises InputError if a score differs."""
    from utils.evaluation.consensus import ConsensusChooser
    from utils.io.json_files import write_json
    from utils.runtime.hardware import describe_machine

    pools = make_pools(arguments)
    report: dict[str, Any] = {"arguments": asdict(arguments), "machine": describe_machine(), "utilities": {}}
    for utility in UTILITIES:
        clock, processor = time.perf_counter(), time.process_time()
        ConsensusChooser(utility).choose(pools)
        seconds = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
        report["utilities"][utility] = seconds
        print(f"{utility:7} {seconds['seconds']:7.2f} s, processor {seconds['processor_seconds']:7.2f} s", flush=True)

    verification = verify(pools, arguments.verified_pairs, arguments.seed)
    report |= verification
    difference = verification["largest_difference"]
    print(
        f"{arguments.sources:,} sources x {arguments.candidates} candidates of {arguments.words} words; "
        f"{arguments.verified_pairs:,} pairs differ from rouge-score by {difference:.1e} at most, which would take "
        f"{verification['rouge_score_seconds']:,.0f} s for all pairs; {report['machine']}"
    )
    if arguments.json is not None:
        write_json(arguments.json, report)
    if difference > _LARGEST_DIFFERENCE:
        raise InputError(f"scores differ from rouge-score's by {difference:.1e}; see utils/evaluation/rouge_pairs.py")


def make_pools(arguments: RerankArguments) -> list[list[str]]:
    """Make the candidates of each source. Raises InputError if the texts are too short."""
    paths = [Path(arguments.texts)] if arguments.texts is not None else sorted((ROOT / "docs").glob("*.md"))
    try:
        words = [word for path in paths for word in path.read_text(encoding="utf-8").split()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--texts {arguments.texts}: cannot be read: {error}") from error
    if len(words) < arguments.words:
        raise InputError(f"--texts {arguments.texts}: has {len(words)} words, fewer than --words {arguments.words}")

    generator = random.Random(arguments.seed)
    pools = []
    for _ in range(arguments.sources):
        start = generator.randrange(len(words) - arguments.words + 1)
        passage = words[start : start + arguments.words]
        replaced = [
            [generator.choice(words) if generator.random() * 100 < arguments.replaced else word for word in passage]
            for _ in range(arguments.candidates)
        ]
        pools.append([" ".join(candidate) for candidate in replaced])
    return pools


def verify(pools: Sequence[Sequence[str]], pairs: int, seed: int) -> dict[str, float]:
    """Compare the three F-measures of random pairs with rouge-score's.

    Returns:
        ``largest_difference``, and ``rouge_score_seconds`` that rouge-score would take for all pairs of the pools.
    """
    from rouge_score.rouge_scorer import RougeScorer

    from utils.evaluation.rouge_pairs import rouge_of_pairs

    generator = random.Random(seed)
    sample = [(pool, generator.choice(pool), generator.choice(pool)) for pool in generator.choices(pools, k=pairs)]
    types = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(list(types), use_stemmer=True)
    start = time.perf_counter()
    expected = [scorer.score(reference, candidate) for _, candidate, reference in sample]
    seconds = (time.perf_counter() - start) / pairs
    differences = [
        abs(measured - score[name].fmeasure)
        for (_, *pair), score in zip(sample, expected, strict=True)
        for name, measured in zip(types, rouge_of_pairs(pair, types)[:, 0, 1], strict=True)
    ]
    everything = sum(len(pool) * (len(pool) - 1) for pool in pools)
    return {"largest_difference": float(max(differences)), "rouge_score_seconds": seconds * everything}


if __name__ == "__main__":
    sys.exit(run_command(RerankArguments, __doc__, measure))
