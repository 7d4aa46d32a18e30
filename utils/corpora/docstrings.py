"""Makes the default corpus: docstrings of 26 packages and their summary lines.

    python -m utils.corpora.docstrings data/docstrings

writes {train,val,test}.{source,target}, a tokenizer trained on the train split, and corpus.json with the versions of
the packages and the numbers of pairs. The files are the same everywhere, byte for byte: pip downloads the wheels that
requirements/docstrings.txt fixes, and their modules are read without installing them.
"""

import gc
import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bart.atomic_directory import atomic_directory
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from ..cli.options import option
from ..cli.run import run_command
from ..data.formats.pair import Pair
from ..io.json_files import read_json, write_json
from ..runtime.process_pool import map_in_processes
from ..runtime.processor import processor_cores
from .coverage import covers
from .docstring_pairs import pairs_of_file
from .leaks import LeakFilter
from .python_sources import DOCSTRINGS, PythonSources, Readable, find_python_sources

Content = TypeVar("Content")

MANIFEST = "corpus.json"
SPLITS = ("train", "val", "test")
HELD_OUT_SHARE = 0.05  # share of the modules for val, and for test
MOST_PAIRS_PER_SUMMARY = 3  # more are a template: "Plot a single or multiple values from the metric." 191 times
MOST_PROCESSES = 8  # more take longer to start than they save
# Version of the rules by which this package and bart/tokenization/training.py make corpora. Raise it if the same
# sources give other files, so that corpora are made anew. tests/utils/corpora/test_version.py has a hash per version.
RULES_VERSION = 3
# Hashes of test pairs that models/bart_mini may not be tested on: it was pre-trained on a text that resembles theirs.
READ_IN_PRETRAINING = frozenset({"37439a0cccf9c467e467c48a001c6f91915d152c6e076ab3b67f05be84a488b8"})


@dataclass(frozen=True)
class CorpusArguments:
    folder: str = option("", "Corpus", "folder to write, such as data/docstrings", positional=True)
    config: str = option("configs/config_tiny.json", "Corpus", "model configuration with the tokenizer's vocab_size")
    wheels: str = option("data/wheels", "Corpus", "folder of the wheels to read; pip downloads those that it lacks")

    def check(self) -> None:
        """Nothing to check together."""


def build_corpus(sources: PythonSources, config: BartConfig, folder: Path) -> None:
    """Write the corpus and its tokenizer unless ``folder`` has them from the same versions already.

    Raises:
        InputError: ``folder`` holds files that are not a corpus of this module.
    """
    made_from = describe_origin(sources, config)
    if is_up_to_date(folder, made_from):
        print(f"{folder} is up to date.")
        return
    print(f"Reading the docstrings of {len(sources.modules):,} modules.")
    splits, counts = make_splits(read_pairs(sources.modules))
    for name, count in counts.items():
        print(f"{count:8,} {name}")
    with atomic_directory(folder) as partial:
        _write_corpus(partial, splits, config)
        write_manifest(partial, made_from, {"pairs": counts})
    print(f"Wrote {folder}.")


def read_pairs(modules: Mapping[str, Readable]) -> dict[str, list[Pair]]:
    """Read the pairs of every module; returns them by its name."""
    return for_every_module(pairs_of_file, modules)


def for_every_module(read: Callable[[Readable], Content], modules: Mapping[str, Readable]) -> dict[str, Content]:
    """Call ``read`` for every module, in a process for each processor core, up to eight; return the results by name."""
    processes = min(processor_cores(), MOST_PROCESSES)
    # Syntax trees are large and have no cycles; the search for cycles would take a fifth of the time.
    contents = map_in_processes(read, list(modules.values()), processes, chunksize=32, initializer=gc.disable)
    return dict(zip(modules, contents, strict=True))


def make_splits(pairs_of: Mapping[str, Iterable[Pair]]) -> tuple[dict[str, list[Pair]], dict[str, int]]:
    """Split the distinct pairs by the hash of their module's name, and drop those too close to a test pair.

    Returns:
        The pairs of each split in the order of a hash, so that its first n are a fair sample; and the counts after each
        step.
    """
    # Keep the first pair of each source, and a few of each summary.
    splits: dict[str, list[Pair]] = {split: [] for split in SPLITS}
    sources: set[str] = set()
    summaries: Counter[str] = Counter()
    read = 0
    for module, pairs in sorted(pairs_of.items()):
        for pair in pairs:
            read += 1
            if pair.source not in sources and summaries[pair.target] < MOST_PAIRS_PER_SUMMARY:
                splits[split_of(module)].append(pair)
                summaries[pair.target] += 1
            sources.add(pair.source)
    counts = {"docstrings with a summary line and a body": read, "distinct pairs": sum(map(len, splits.values()))}

    # Keep those whose summary can be known from the text.
    splits = {split: [pair for pair in pairs if covers(pair)] for split, pairs in splits.items()}
    counts["pairs whose text has half of the summary's content words"] = sum(map(len, splits.values()))

    # Leave out of test what the pretrained model has read.
    known = [pair for pair in splits["test"] if _hash_of_pair(pair) in READ_IN_PRETRAINING]
    splits["test"] = [pair for pair in splits["test"] if pair not in known]
    counts["dropped from test: read in pre-training"] = len(known)

    # Drop what gives a test pair away.
    leaks = LeakFilter(splits["test"])
    for split in ("train", "val"):
        kept = [pair for pair in splits[split] if not leaks.gives_away(pair)]
        counts[f"dropped from {split}: too close to a test pair"] = len(splits[split]) - len(kept)
        splits[split] = kept
    counts |= {split: len(pairs) for split, pairs in splits.items()}
    return {split: sorted(pairs, key=_hash_of_pair) for split, pairs in splits.items()}, counts


def split_of(module: str) -> str:
    """Return test, val or train, as the place of the name's hash between 0 and 1 decides."""
    place = int(sha256(module.encode())[:12], 16) / 16**12
    return "test" if place < HELD_OUT_SHARE else "val" if place < 2 * HELD_OUT_SHARE else "train"


def _hash_of_pair(pair: Pair) -> str:
    return sha256(pair.source.encode(), b"\n", pair.target.encode())


def sha256(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def describe_origin(sources: PythonSources, config: BartConfig) -> dict[str, Any]:
    """Describe all that decides what a corpus contains."""
    return {
        "versions": sources.versions,
        "vocab_size": config.vocab_size,
        "prefix": config.prefix,
        "rules_version": RULES_VERSION,
    }


def write_manifest(folder: Path, made_from: dict[str, Any], counts: dict[str, dict[str, int]]) -> None:
    """Write corpus.json: what a corpus was made from, its counts, and a hash of every file."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    hashes = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files}
    write_json(folder / MANIFEST, {"made_from": made_from, **counts, "sha256": hashes})


def is_up_to_date(folder: Path, made_from: dict[str, Any]) -> bool:
    """Whether the folder's corpus is complete and was made from the same.

    Raises:
        InputError: The folder holds something that is no corpus.
    """
    if (folder / MANIFEST).is_file():
        manifest = read_json(folder / MANIFEST)
        return manifest["made_from"] == made_from and all((folder / name).is_file() for name in manifest["sha256"])
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds other files (no {MANIFEST}); give a new folder for the corpus")
    return False


def train_corpus_tokenizer(folder: Path, texts: Iterable[str], config: BartConfig) -> None:
    """Write the tokenizer of a corpus, trained on texts as the model will read them, with the prefix."""
    # Each process of a pool imports this module, and the transformers library takes seconds to import.
    from bart.tokenization.training import train_tokenizer

    train_tokenizer((config.prefix + text for text in texts), config.vocab_size, folder)


def _write_corpus(folder: Path, splits: Mapping[str, list[Pair]], config: BartConfig) -> None:
    for split, pairs in splits.items():
        for side in Pair._fields:
            lines = [getattr(pair, side) + "\n" for pair in pairs]
            (folder / f"{split}.{side}").write_text("".join(lines), encoding="utf-8", newline="\n")
    train_corpus_tokenizer(folder / "tokenizer", (text for pair in splits["train"] for text in pair), config)


def _main(arguments: CorpusArguments) -> None:
    config = BartConfig.from_json_file(arguments.config)
    build_corpus(find_python_sources([DOCSTRINGS], Path(arguments.wheels)), config, Path(arguments.folder))


if __name__ == "__main__":
    sys.exit(run_command(CorpusArguments, "Make the docstring corpus.", _main))
