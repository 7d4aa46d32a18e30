import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import sysconfig
import time
from functools import cache
from pathlib import Path

import pytest

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from utils.corpora import docstrings
from utils.corpora.docstrings import build_corpus, make_splits, read_pairs
from utils.corpora.python_sources import DOCSTRINGS, PythonSources, find_python_sources
from utils.data.formats.pair import Pair

ROOT = Path(__file__).parents[3]
CONFIG = BartConfig(vocab_size=600)


def pair(number: int, source: str = "", target: str = "") -> Pair:
    words = " ".join(f"w{number}x{place}" for place in range(12))
    return Pair(source or words, target or f"Summary of w{number}x0.")


def modules_of_splits() -> dict[str, list[str]]:
    """Make up names of modules and sort them by split."""
    names: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number in range(2000):
        splits, _ = make_splits({f"module{number}.py": [pair(0)]})
        split = next(split for split, pairs in splits.items() if pairs)
        names[split].append(f"module{number}.py")
    return names


@pytest.fixture(scope="module")
def names() -> dict[str, list[str]]:
    return modules_of_splits()


def test_a_module_in_twenty_is_for_validation_and_one_for_test(names: dict[str, list[str]]) -> None:
    assert 60 < len(names["val"]) < 140
    assert 60 < len(names["test"]) < 140


def test_what_gives_test_away_is_dropped(names: dict[str, list[str]]) -> None:
    train, val, test = (names[split][:2] for split in ("train", "val", "test"))
    near = pair(1).source.replace("w1x11", "other")  # 7 of 9 5-grams in common
    splits, counts = make_splits(
        {
            test[0]: [pair(1), pair(2)],
            test[1]: [pair(3)],
            train[0]: [pair(4), pair(5, f"{pair(5).source} w2x0", "summary of W2x0"), pair(6)],
            train[1]: [pair(7, near, "About w1x0.")],
            val[0]: [pair(8, near + " more", "About w1x0 again."), pair(9)],
            val[1]: [pair(10)],
        }
    )
    assert sorted(splits["test"]) == sorted([pair(1), pair(2), pair(3)])
    assert sorted(splits["train"]) == sorted([pair(4), pair(6)])
    assert sorted(splits["val"]) == sorted([pair(9), pair(10)])
    assert counts == {
        "docstrings with a summary line and a body": 10,
        "distinct pairs": 10,
        "pairs whose text has half of the summary's content words": 10,
        "dropped from test: read in pre-training": 0,
        "dropped from train: too close to a test pair": 2,
        "dropped from val: too close to a test pair": 1,
        "train": 2,
        "val": 2,
        "test": 3,
    }


def test_summaries_that_their_text_does_not_tell_are_dropped(names: dict[str, list[str]]) -> None:
    told, untold = pair(1), pair(2, target="Compute eigenvalues of a matrix.")
    splits, counts = make_splits({names["train"][0]: [told, untold], names["test"][0]: [pair(3), untold]})
    assert (splits["train"], splits["test"]) == ([told], [pair(3)])
    assert counts["pairs whose text has half of the summary's content words"] == 2


def test_what_the_pretrained_model_has_read_is_not_tested(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = hashlib.sha256(f"{pair(1).source}\n{pair(1).target}".encode()).hexdigest()
    monkeypatch.setattr(docstrings, "READ_IN_PRETRAINING", {read})
    splits, counts = make_splits({names["test"][0]: [pair(1), pair(2)], names["train"][0]: [pair(3)]})
    assert (splits["train"], splits["test"]) == ([pair(3)], [pair(2)])
    assert counts["dropped from test: read in pre-training"] == 1


def test_repeated_texts_and_template_summaries_are_kept_a_few_times(names: dict[str, list[str]]) -> None:
    first, second = names["train"][:2]
    template = [pair(number, f"{pair(number).source} plots metrics", "Plot the metric.") for number in range(5)]
    splits, counts = make_splits({first: template, second: [pair(7), pair(7), pair(8, source=pair(7).source)]})
    assert sorted(splits["train"]) == sorted([*template[:3], pair(7)])
    assert counts["distinct pairs"] == 4


def test_the_order_of_the_modules_makes_no_difference(names: dict[str, list[str]]) -> None:
    pairs = {name: [pair(number)] for number, name in enumerate(name for split in names.values() for name in split)}
    assert make_splits(pairs) == make_splits(dict(reversed(pairs.items())))
    lines = make_splits(pairs)[0]["train"]
    assert lines != sorted(lines)  # a part of the file is not a part of the alphabet


@cache
def library_part() -> PythonSources:
    """Choose some packages of the real standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    chosen = ("asyncio", "concurrent", "email", "http", "importlib", "json", "logging", "multiprocessing", "unittest")
    paths = sorted(path for name in chosen for path in library.glob(f"{name}/**/*.py"))
    return PythonSources({path.relative_to(library).as_posix(): path for path in paths}, {"CPython": "3"}, {})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "docstrings"
    build_corpus(library_part(), CONFIG, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_corpus_is_a_data_folder_with_a_tokenizer(corpus: Path) -> None:
    counts = json.loads((corpus / "corpus.json").read_bytes())["pairs"]
    assert counts["train"] > 200
    for split in ("train", "val", "test"):
        for side in ("source", "target"):
            text = (corpus / f"{split}.{side}").read_text(encoding="utf-8")
            assert text.count("\n") == counts[split] > 0
            assert "\n\n" not in text
    summaries = (corpus / "train.target").read_text(encoding="utf-8").splitlines()
    assert "Queue subclass that retrieves most recently added entries first." not in summaries  # it has no body
    assert "Fold header according to policy." in summaries
    assert len(BartTokenizer.from_pretrained(corpus / "tokenizer")) == CONFIG.vocab_size


def test_the_same_sources_give_the_same_files(corpus: Path, tmp_path: Path) -> None:
    sources = library_part()
    backwards = sources._replace(modules=dict(reversed(sources.modules.items())))
    build_corpus(backwards, CONFIG, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(corpus)


def test_a_second_run_does_nothing_and_other_versions_do(corpus: Path, tmp_path: Path, capsys) -> None:
    folder, sources = tmp_path / "docstrings", library_part()
    build_corpus(sources, CONFIG, folder)
    before = folder.stat().st_ino
    build_corpus(sources, CONFIG, folder)
    assert "up to date" in capsys.readouterr().out
    assert folder.stat().st_ino == before
    build_corpus(sources, BartConfig(vocab_size=500), folder)
    assert len(BartTokenizer.from_pretrained(folder / "tokenizer")) == 500
    assert [path.name for path in tmp_path.iterdir()] == ["docstrings"]


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.source").write_text("mine\n")
    with pytest.raises(InputError, match=f"{tmp_path} holds other files"):
        build_corpus(library_part(), CONFIG, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.source"]


KILLED = """
import pickle, sys
from pathlib import Path
from utils.corpora.docstrings import build_corpus
if __name__ == "__main__":
    build_corpus(*pickle.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2]))
"""


def test_a_killed_run_leaves_nothing_that_looks_whole(corpus: Path, tmp_path: Path) -> None:
    script, arguments, folder = tmp_path / "build.py", tmp_path / "arguments", tmp_path / "data" / "docstrings"
    script.write_text(KILLED)
    arguments.write_bytes(pickle.dumps((library_part(), CONFIG)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, script, arguments, folder]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob("data/*/test.target")):  # the last text; the tokenizer comes after it
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    assert not folder.exists()
    build_corpus(library_part(), CONFIG, folder)
    assert contents(folder) == contents(corpus)


def test_the_command_refuses_a_missing_configuration_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "utils.corpora.docstrings", str(tmp_path / "data"), "--config", "absent.json"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
    assert "absent.json" in process.stderr


@pytest.mark.slow
def test_the_whole_corpus(tmp_path: Path) -> None:
    """It is the same on every machine and with every Python; the wheels come through pip."""
    sources = find_python_sources([DOCSTRINGS], tmp_path)
    splits, _ = make_splits(read_pairs(sources.modules))
    assert {split: len(pairs) for split, pairs in splits.items()} == {"train": 19_583, "val": 928, "test": 1_318}
