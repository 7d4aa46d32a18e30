"""Tests which documents are read to pre-train on, and which are kept out."""

from pathlib import Path

import pytest

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from utils.corpora.docstring_pairs import documents_of_module
from utils.corpora.docstrings import split_of
from utils.corpora.leaks import LeakFilter
from utils.corpora.prose import build_prose, make_splits
from utils.corpora.python_sources import PythonSources
from utils.data.formats.pair import Pair
from utils.data.line_files import read_lines
from utils.data.splits import Pairs

CONFIG = BartConfig(vocab_size=600)
MODULE = b'''"""Read a file of lines.

The lines are read one
after the other. See :class:`~package.Reader`.

>>> reader = Reader("x")

    x[0] = {1: 2}; y[1] = {3: 4}
"""

# A comment of several lines,
# which reads as a paragraph.
#
# Another paragraph of it.
x = 1  # too short


def read():
    """Read all of it now."""
    # x = [1, 2, {3: 4}]
'''


def named(split: str, count: int) -> list[str]:
    names = (f"module{number}.py" for number in range(10_000))
    return [name for name in names if split_of(name) == split][:count]


def words(number: int) -> str:
    return " ".join(f"word{number}x{place}" for place in range(14))


def test_documents_are_docstrings_and_comments() -> None:
    """They are read paragraph by paragraph, without examples and code."""
    assert documents_of_module(MODULE) == [
        ["Read a file of lines.", "The lines are read one after the other. See package.Reader."],
        ["Read all of it now."],
        ["A comment of several lines, which reads as a paragraph.", "Another paragraph of it."],
    ]
    assert documents_of_module(b"def broken(:") == []
    assert documents_of_module(b'# This file is generated.\n"""Read a file of lines."""') == []


def test_nothing_of_the_test_modules_and_nothing_like_them() -> None:
    """Test summaries are kept out, and texts with half of a test source's 5-grams, alone or as a part of a document."""
    (test,), (train, other), (val,) = named("test", 1), named("train", 2), named("val", 1)
    leaks = LeakFilter([Pair(words(1), "Summary of the first.")])
    near = words(1).replace("word1x0", "changed")
    documents = {
        test: [[words(2)]],
        train: [[words(3)], [words(4), near], ["summary of the first", words(5)], [near], [words(6)]],
        other: [["Some summary.", words(1)[: words(1).index(" word1x7")], words(1)[words(1).index("word1x7") :]]],
        val: [[words(7)], [words(1)]],
    }
    splits, counts = make_splits(documents, leaks)
    assert sorted(splits["train"]) == sorted([[words(3)], [words(6)]])
    assert splits["val"] == [[words(7)]]
    assert counts["documents, without the test modules'"] == 8
    assert counts["dropped: too close to a test pair"] == 5
    assert counts["train words"] == 28


def test_templates_are_kept_a_few_times() -> None:
    (module,) = named("train", 1)
    documents = [["The same in all.", words(number)] for number in range(5)]
    splits, _ = make_splits({module: documents}, LeakFilter([]))
    assert sum("The same in all." in document for document in splits["train"]) == 3
    assert sum(len(document) for document in splits["train"]) == 8


def test_what_is_left_of_a_document_is_looked_at_too() -> None:
    """Without the paragraphs that recur, it may be half of a test text."""
    (module,) = named("train", 1)
    template = words(0) + words(9)
    first, second = words(1)[: words(1).index(" word1x7")], words(1)[words(1).index("word1x7") :]
    documents = [[template]] * 3 + [[first, second, template]]
    splits, counts = make_splits({module: documents}, LeakFilter([Pair(words(1), "Another summary.")]))
    assert splits["train"] == [[template]] * 3
    assert counts["dropped: too close to a test pair"] == 1


def test_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A paragraph has a line, and a document ends with an empty one. A second call writes nothing."""
    train, val = (named(split, 1)[0] for split in ("train", "val"))
    modules = {}
    for name in (train, val):
        modules[name] = tmp_path / name
        modules[name].write_bytes(MODULE + f"# {words(len(modules))} makes them differ\n".encode())
    sources = PythonSources(modules, {"alpha": "1.0"}, {"alpha": "What alpha is good for in general."})
    pairs = {"train": Pairs([words(9)] * 3, ["A summary."] * 3), "test": Pairs([words(8)], ["Another summary."])}
    folder = tmp_path / "prose"
    build_prose(sources, pairs, CONFIG, folder)
    lines = read_lines(folder / "train.source")
    assert lines[-1] == "" and "Another paragraph of it." in lines and "" in lines[:-1]
    assert len(BartTokenizer.from_pretrained(folder / "tokenizer")) <= 600
    assert "train documents" in capsys.readouterr().out
    build_prose(sources, pairs, CONFIG, folder)
    assert "is up to date" in capsys.readouterr().out
    build_prose(sources, {**pairs, "test": Pairs([words(7)], ["Yet another summary."])}, CONFIG, folder)
    assert "is up to date" not in capsys.readouterr().out  # what must be kept out has changed
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        build_prose(sources, pairs, CONFIG, tmp_path / "mine")
