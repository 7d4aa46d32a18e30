"""Text to pre-train on, without a download: what the installed Python sources say in docstrings and comments.

    python -m utils.corpora.prose data/prose data/docstrings

writes {train,val}.source, one paragraph a line and an empty line after each document; a tokenizer trained on the train
split and on the pairs of the docstring corpus; and corpus.json. Modules of that corpus's test split are left out, and
so is every document that gives one of its test pairs away. The same versions give the same files, byte for byte.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from bart.atomic_directory import atomic_directory
from bart.configuration.configuration_bart import BartConfig

from ..cli.options import option
from ..cli.run import run_command
from ..data.formats.pair import Pair
from ..data.splits import Pairs, read_pairs
from .docstring_pairs import documents_of_file, paragraphs_of_text
from .docstrings import describe_origin, for_every_module, is_up_to_date, sha256, split_of, write_manifest
from .leaks import LeakFilter
from .python_sources import PythonSources, find_python_sources

Document = list[str]  # of paragraphs

MOST_OF_A_PARAGRAPH = 3  # copies kept; more are a template


@dataclass
class ProseArguments:
    folder: str = option("", "Corpus", "folder to write, such as data/prose", positional=True)
    docstrings: str = option("", "Corpus", "folder of the docstring corpus, such as data/docstrings", positional=True)
    config: str = option("configs/config_mini.json", "Corpus", "model configuration: gives the tokenizer's vocab_size")

    def check(self) -> None:
        """Nothing to check together."""


def build_prose(sources: PythonSources, pairs: Mapping[str, Pairs], config: BartConfig, folder: Path) -> None:
    """Write the corpus and its tokenizer, unless ``folder`` has them from the same versions already.

    ``pairs`` are the splits of the docstring corpus. Raises InputError where ``folder`` holds something else.
    """
    made_from = describe_origin(sources, config)
    if is_up_to_date(folder, made_from):
        print(f"{folder} is up to date.")
        return
    documents = {
        **for_every_module(documents_of_file, sources.modules),
        **{name: [description] for name, description in descriptions(sources.versions).items()},
    }
    test = pairs["test"]
    splits, counts = make_splits(documents, LeakFilter(map(Pair, test.sources, test.targets)))
    for name, count in counts.items():
        print(f"{count:9,} {name}")
    with atomic_directory(folder) as partial:
        for split, texts in splits.items():
            content = "".join("".join(f"{paragraph}\n" for paragraph in document) + "\n" for document in texts)
            (partial / f"{split}.source").write_text(content, encoding="utf-8", newline="\n")
        _train_tokenizer(partial / "tokenizer", splits["train"], pairs["train"], config)
        write_manifest(partial, made_from, {"documents": counts})
    print(f"Wrote {folder}.")


def descriptions(versions: Mapping[str, str]) -> dict[str, Document]:
    """What the distributions say of themselves, by name."""
    found = {}
    for name in versions:
        try:
            text = metadata.metadata(name).get_payload()
        except metadata.PackageNotFoundError:  # Python itself
            continue
        if isinstance(text, str):
            found[name] = paragraphs_of_text(text)
    return found


def make_splits(
    documents_of: Mapping[str, Iterable[Document]], leaks: LeakFilter
) -> tuple[dict[str, list[Document]], dict[str, int]]:
    """Documents by the split of their module, without leaks; and the counts of each step.

    Documents are in the order of a hash. Of a paragraph that recurs, the first copies are kept.
    """
    splits: dict[str, list[Document]] = {"train": [], "val": []}
    copies: Counter[str] = Counter()
    read = leaked = 0
    for module, documents in sorted(documents_of.items()):
        split = split_of(module)
        if split == "test":
            continue
        for document in documents:
            read += 1
            if any(leaks.is_test_summary(text) or leaks.resembles_test_source(text) for text in _views(document)):
                leaked += 1
                continue
            kept = [text for text in document if copies[text] < MOST_OF_A_PARAGRAPH]
            copies.update(kept)
            if kept:
                splits[split].append(kept)
    counts = {"documents, without the test modules'": read, "dropped: too close to a test pair": leaked}
    counts |= {f"{split} documents": len(documents) for split, documents in splits.items()}
    for split, documents in splits.items():
        counts[f"{split} words"] = sum(len(text.split()) for document in documents for text in document)
    return {split: sorted(documents, key=_hash_of_document) for split, documents in splits.items()}, counts


def _views(document: Document) -> Iterator[str]:
    """What may resemble a test pair: each paragraph, all of them, and all but the first, which summarizes."""
    yield from document
    yield " ".join(document)
    if len(document) > 1:
        yield " ".join(document[1:])


def _hash_of_document(document: Document) -> str:
    return sha256("\n".join(document).encode())


def _train_tokenizer(folder: Path, documents: Iterable[Document], pairs: Pairs, config: BartConfig) -> None:
    from bart.tokenization.training import train_tokenizer  # here: transformers is slow to import, in every worker too

    texts = (text for source in (*documents, pairs.sources, pairs.targets) for text in source)
    train_tokenizer((config.prefix + text for text in texts), config.vocab_size, folder)


def _main(arguments: ProseArguments) -> None:
    config = BartConfig.from_json_file(arguments.config)
    pairs = {split: read_pairs(arguments.docstrings, split) for split in ("train", "test")}
    build_prose(find_python_sources(), pairs, config, Path(arguments.folder))


if __name__ == "__main__":
    sys.exit(run_command(ProseArguments, "Make the corpus for pre-training.", _main))
