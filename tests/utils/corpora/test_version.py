"""Sees that whoever changes the content of corpora raises the version of the rules that make them."""

import hashlib
import random
from pathlib import Path

from bart.configuration.configuration_bart import BartConfig
from utils.corpora.docstrings import RULES_VERSION, build_corpus
from utils.corpora.prose import build_prose
from utils.corpora.python_sources import PythonSources
from utils.data.splits import read_pairs

CONFIG = BartConfig(vocab_size=400)
MODULES = 120
# Hashes of both corpora by version. If the test finds others, raise the version and add the new hashes here.
MADE_BY_VERSION = {
    3: (
        "ebf804f0ae16f12b50a1f8e540193b210c1e130a63befde6eb403e35cf392d20",
        "5b8a71c2be490eb96bfa4ac76f93177fb7c84a8d18dbf946a9253c18ed9608f2",
    )
}


def write_modules(folder: Path) -> PythonSources:
    """Write modules of random words with docstrings and comments, the same on every machine."""
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(3, 8))) for _ in range(300)]

    def sentence() -> str:
        return f"{' '.join(rng.choices(vocabulary, k=rng.randint(6, 12))).capitalize()}."

    def docstring() -> str:
        summary, body = sentence(), " ".join(sentence() for _ in range(rng.randint(2, 4)))
        return f'"""{summary}\n\n    {body} {summary.split(" ", 2)[2]}\n    """'

    modules = {}
    for number in range(MODULES):
        functions = [f"def read{index}():\n    {docstring()}\n" for index in range(4)]
        comment = f"# {sentence()}\n# {sentence()}\n"
        modules[f"module{number}.py"] = folder / f"module{number}.py"
        modules[f"module{number}.py"].write_text("\n\n".join([docstring(), comment, *functions]), encoding="utf-8")
    return PythonSources(modules, {"alpha": "1.0"}, {"alpha": "What alpha is good for in general."})


def hash_of(folder: Path) -> str:
    """Hash the texts and the tokenizer's merges."""
    files = sorted([*folder.glob("*.source"), *folder.glob("*.target"), folder / "tokenizer" / "merges.txt"])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def test_the_same_version_makes_the_same_corpora(tmp_path: Path) -> None:
    sources, docstrings, prose = write_modules(tmp_path), tmp_path / "docstrings", tmp_path / "prose"
    build_corpus(sources, CONFIG, docstrings)
    pairs = {split: read_pairs(docstrings, split) for split in ("train", "val", "test")}
    assert min(len(split) for split in pairs.values()) > 5
    build_prose(sources, pairs, CONFIG, prose)
    assert (hash_of(docstrings), hash_of(prose)) == MADE_BY_VERSION[RULES_VERSION]
