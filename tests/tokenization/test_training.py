import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from bart.tokenization.training import train_tokenizer
from tests.tokenization.conftest import source_lines


def test_ids_are_laid_out_as_in_bart(tokenizer_folder: Path) -> None:
    vocabulary = json.loads((tokenizer_folder / "vocab.json").read_bytes())
    assert sorted(vocabulary.values()) == list(range(800))
    special = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 799}
    assert {token: vocabulary[token] for token in special} == special
    tokenizer = BartTokenizer.from_pretrained(tokenizer_folder)
    words, mask = tokenizer(" the parser")["input_ids"][:-1], tokenizer.mask_token_id
    assert tokenizer(" the parser <mask>")["input_ids"] == [*words, mask, 2]  # <mask> takes the space before it


def test_the_same_lines_give_the_same_files(tokenizer_folder: Path, tmp_path: Path) -> None:
    command = (
        "import sys; from bart.tokenization.training import train_tokenizer;"
        "train_tokenizer(open(sys.argv[1], encoding='utf-8').read().split('\\n'), 800, sys.argv[2])"
    )
    lines = tmp_path / "lines"
    lines.write_text("\n".join(f" {line}" for line in source_lines()), encoding="utf-8")
    environment = {**os.environ, "RAYON_NUM_THREADS": "3", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", command, lines, tmp_path / "again"], env=environment, check=True)
    for file in tokenizer_folder.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_few_lines_give_a_smaller_vocabulary(tmp_path: Path) -> None:
    train_tokenizer([" a few words", " a few more words"], 5000, tmp_path / "small")
    tokenizer = BartTokenizer.from_pretrained(tmp_path / "small")
    assert 261 < len(tokenizer) < 300
    assert tokenizer.mask_token_id == len(tokenizer) - 1


def test_a_vocabulary_that_cannot_hold_the_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vocab_size 260: .* 261"):
        train_tokenizer([" a"], 260, tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_training_leaves_the_old_folder(tmp_path: Path) -> None:
    train_tokenizer([" old"], 300, tmp_path / "tokenizer")
    before = {file.name: file.read_bytes() for file in (tmp_path / "tokenizer").iterdir()}

    def failing():
        yield " new"
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        train_tokenizer(failing(), 300, tmp_path / "tokenizer")
    assert {file.name: file.read_bytes() for file in (tmp_path / "tokenizer").iterdir()} == before
    assert [folder.name for folder in tmp_path.iterdir()] == ["tokenizer"]
