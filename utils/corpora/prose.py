"""Makes a corpus to pre-train on: the docstrings and comments of 78 packages, and their long descriptions.

    python -m utils.corpora.prose data/prose data/docstrings

writes {train,val}.source, one paragraph a line and an empty line after each document; a tokenizer trained on the train
split and on the pairs of the docstring corpus; and corpus.json. Modules of that corpus's test split are left out, and
so is every document that gives one of its test pairs away. The files are the same everywhere, byte for byte: they come
from the wheels that requirements/docstrings.txt and prose.txt fix.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bart.atomic_directory import atomic_directory
from bart.configuration.configuration_bart import BartConfig

from ..cli.options import option
from ..cli.run import run_command
from ..data.formats.pair import Pair
from ..data.splits import Pairs, read_pairs
from .docstring_pairs import documents_of_file, paragraphs_of_text
from .docstrings import (
    describe_origin,
    for_every_module,
    is_up_to_date,
    sha256,
    split_of,
    train_corpus_tokenizer,
    write_manifest,
)
from .leaks import LeakFilter
from .python_sources import DOCSTRINGS, PROSE, PythonSources, find_python_sources

Document = list[str]  # its paragraphs

MOST_OF_A_PARAGRAPH = 3  # copies to keep; a paragraph with more is a template


@dataclass(frozen=True)
class ProseArguments:
    folder: str = option("", "Corpus", "folder to write, such as data/prose", positional=True)
    docstrings: str = option("", "Corpus", "folder of the docstring corpus, such as data/docstrings", positional=True)
    config: str = option("configs/config_mini.json", "Corpus", "model configuration with the tokenizer's vocab_size")
    wheels: str = option("data/wheels", "Corpus", "folder of the wheels to read; pip downloads those that it lacks")

    def check(self) -> None:
        """Nothing to check together."""


def build_prose(sources: PythonSources, pairs: Mapping[str, Pairs], config: BartConfig, folder: Path) -> None:
    """Write the corpus and its tokenizer unless ``folder`` has them from the same versions already.

    Args:
        sources: The modules to read.
        pairs: The train and test splits of the docstring corpus.
        config: Configuration with the prefix and the size of the vocabulary.
        folder: The folder to write.

    Raises:
        InputError: ``folder`` holds files that are not a corpus.
    """
    made_from = {**describe_origin(sources, config), "pairs": _hash_of_pairs(pairs)}
    if is_up_to_date(folder, made_from):
        print(f"{folder} is up to date.")
        return

    # Read the documents, and keep those that may be trained on.
    documents = {
        **for_every_module(documents_of_file, sources.modules),
        **{name: [paragraphs_of_text(text)] for name, text in sources.descriptions.items()},
    }
    test = pairs["test"]
    splits, counts = make_splits(documents, LeakFilter(map(Pair, test.sources, test.targets)))
    for name, count in counts.items():
        print(f"{count:9,} {name}")

    # Write them with their tokenizer.
    with atomic_directory(folder) as partial:
        for split, texts in splits.items():
            content = "".join("".join(f"{paragraph}\n" for paragraph in document) + "\n" for document in texts)
            (partial / f"{split}.source").write_text(content, encoding="utf-8", newline="\n")
        train = (*splits["train"], pairs["train"].sources, pairs["train"].targets)
        train_corpus_tokenizer(partial / "tokenizer", (text for texts in train for text in texts), config)
        write_manifest(partial, made_from, {"documents": counts})
    print(f"Wrote {folder}.")


def make_splits(
    documents_of: Mapping[str, Iterable[Document]], leaks: LeakFilter
) -> tuple[dict[str, list[Document]], dict[str, int]]:
    """Sort documents into the splits of their modules, without test modules and what gives a test pair away.

    Of a paragraph that recurs, the first copies are kept.

    Returns:
        The documents of train and val in the order of a hash, and the counts after each step.
    """
    # Keep the paragraphs that may be trained on.
    splits: dict[str, list[Document]] = {"train": [], "val": []}
    copies: Counter[str] = Counter()
    read = leaked = 0
    for module, documents in sorted(documents_of.items()):
        split = split_of(module)
        if split == "test":
            continue
        for document in documents:
            read += 1
            kept = [text for text in document if copies[text] < MOST_OF_A_PARAGRAPH]
            # Without its templates, a document may resemble a test text more.
            if _gives_away(document, leaks) or _gives_away(kept, leaks):
                leaked += 1
                continue
            copies.update(kept)
            if kept:
                splits[split].append(kept)

    # Count what is left.
    counts = {"documents, without the test modules'": read, "dropped: too close to a test pair": leaked}
    counts |= {f"{split} documents": len(documents) for split, documents in splits.items()}
    for split, documents in splits.items():
        counts[f"{split} words"] = sum(len(text.split()) for document in documents for text in document)
    return {split: sorted(documents, key=_hash_of_document) for split, documents in splits.items()}, counts


def _gives_away(document: Document, leaks: LeakFilter) -> bool:
    return any(leaks.is_test_summary(text) or leaks.resembles_test_source(text) for text in _views(document))


def _views(document: Document) -> Iterator[str]:
    """Yield the texts that may resemble a test pair: each paragraph, all of them, and all but the first, a summary."""
    yield from document
    yield " ".join(document)
    if len(document) > 1:
        yield " ".join(document[1:])


def _hash_of_pairs(pairs: Mapping[str, Pairs]) -> str:
    sides = (side for split in ("train", "test") for side in (pairs[split].sources, pairs[split].targets))
    return sha256("\n".join(line for side in sides for line in side).encode())


def _hash_of_document(document: Document) -> str:
    return sha256("\n".join(document).encode())


def _main(arguments: ProseArguments) -> None:
    config = BartConfig.from_json_file(arguments.config)
    pairs = {split: read_pairs(arguments.docstrings, split) for split in ("train", "test")}
    sources = find_python_sources([DOCSTRINGS, PROSE], Path(arguments.wheels))
    build_prose(sources, pairs, config, Path(arguments.folder))


if __name__ == "__main__":
    sys.exit(run_command(ProseArguments, "Make the corpus for pre-training.", _main))
