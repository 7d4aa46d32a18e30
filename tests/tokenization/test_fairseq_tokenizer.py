"""dict.txt with GPT-2's files gives the tokenizer that it was written from."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bart.errors import InputError
from bart.tokenization.fairseq_tokenizer import load_fairseq_tokenizer
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.fairseq_format import write_dictionary
from tests.tokenization.conftest import source_lines


@pytest.fixture
def folder(tokenizer_folder: Path, tmp_path: Path) -> Path:
    BartTokenizer.from_pretrained(tokenizer_folder).save_pretrained(tmp_path / "ours")
    vocabulary = json.loads((tmp_path / "ours" / "vocab.json").read_text(encoding="utf-8"))
    write_dictionary(vocabulary, tmp_path / "ours" / "merges.txt", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["dict.txt", "dict.source.txt"])
def test_the_same_tokens(folder: Path, tokenizer_folder: Path, name: str) -> None:
    (folder / "dict.txt").rename(folder / name)
    ours, read = BartTokenizer.from_pretrained(tokenizer_folder), load_fairseq_tokenizer(folder / "model.pt")
    texts = [f" {line}" for line in source_lines()] + ["<mask> it", "is it a  <mask> ?", "", "caf\u00e9 \u4e2d"]
    assert read(texts).input_ids == ours(texts).input_ids
    assert read.get_vocab() == ours.get_vocab()


def test_other_symbols_and_a_mask_of_its_own(folder: Path) -> None:
    """As the authors' dict.txt has them, to make the number of rows a round one."""
    with (folder / "dict.txt").open("a", encoding="utf-8") as file:
        file.write("madeupword0000 0\n<mask> 0\n")
    vocabulary = load_fairseq_tokenizer(folder / "model.pt").get_vocab()
    assert vocabulary["<mask>"] == vocabulary["madeupword0000"] + 1 == len(vocabulary) - 1


def drop_gpt2(folder: Path) -> None:
    (folder / "encoder.json").unlink()


def drop_dictionary(folder: Path) -> None:
    (folder / "dict.txt").unlink()


def repeat_line(folder: Path) -> None:
    lines = (folder / "dict.txt").read_text().splitlines()
    (folder / "dict.txt").write_text("\n".join([*lines, lines[4]]))


def unknown_id(folder: Path) -> None:
    (folder / "dict.txt").write_text("99999 1\n")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (drop_gpt2, "no encoder.json beside it; fetch it from https://"),
        (drop_dictionary, "no dict.txt beside it"),
        (repeat_line, "is there twice"),
        (unknown_id, "dict.txt: line 1: '99999' is no token of encoder.json"),
    ],
)
def test_what_does_not_fit_is_refused(folder: Path, fault: Callable[[Path], None], said: str) -> None:
    fault(folder)
    with pytest.raises(InputError) as refusal:
        load_fairseq_tokenizer(folder / "model.pt")
    assert said in str(refusal.value)
