"""Opens DATA_DIR as a folder of tables; test_sources_hub.py opens data sets of the hub."""

import csv
import os
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup, write_tiny_setup
from utils.data.formats.tables import AskedColumns
from utils.data.sources import open_data
from utils.data.splits import Pairs, read_pairs, scan_split
from utils.data.tokens.pair_cache import TokenLimits, prepare_pairs
from utils.io.artifact_cache import FOLDER

NONE = AskedColumns()


def write_csv(path: Path, rows: list[tuple[str, str]], names: tuple[str, str] = ("text", "summary")) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def pairs_of(folder: Path, split: str = "train", columns: AskedColumns = NONE) -> Pairs:
    return read_pairs(open_data(str(folder), columns).lines_of(split), split)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER).iterdir())


def write_times(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in place.rglob("*")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_csv(folder / "train.csv", [("a\nb", "A"), ("", "B"), ("c", "C")])
    return folder


def test_a_table_becomes_line_files_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert pairs_of(folder) == Pairs(["a b", "", "c"], ["A", "B", "C"])
    said = "3 train pairs from train.csv, texts from the column text, summaries from summary\n"
    assert capfd.readouterr() == (f"{folder}: {said}", "")
    before = write_times(folder)
    assert pairs_of(folder).sources == ["a b", "", "c"]
    assert write_times(folder) == before and capfd.readouterr().out == ""


def test_other_columns_are_other_line_files(folder: Path) -> None:
    pairs_of(folder)
    assert pairs_of(folder, columns=AskedColumns("summary", "text")).sources == ["A", "B", "C"]
    assert len(kept(folder)) == 2


def test_a_changed_table_is_noticed_and_the_old_lines_go(folder: Path) -> None:
    """The digest tells: size and time of the file are the same as before."""
    write_csv(folder / "val.csv", [("d", "D")])
    pairs_of(folder)
    pairs_of(folder, "val")
    path = folder / "train.csv"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"c", b"x"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert pairs_of(folder, columns=AskedColumns("text", "summary")).sources == ["a b", "", "x"]
    assert [name.split("-")[1] for name in kept(folder)] == ["train", "val"]


def test_damaged_line_files_are_made_anew(folder: Path) -> None:
    lines = open_data(str(folder), NONE).lines_of("train")
    (lines / "train.target").write_text("A\n")
    assert pairs_of(folder).targets == ["A", "B", "C"]


def test_line_files_go_before_tables(folder: Path) -> None:
    for side in ("source", "target"):
        (folder / f"train.{side}").write_text("line\n")
    (folder / "train.jsonl").write_text("with two tables nothing is wrong as long as none is used")
    assert pairs_of(folder).sources == ["line"]
    with pytest.raises(InputError, match=r"^--text_column and --summary_column: .*has no table for them"):
        open_data(str(folder), AskedColumns("text", None))
    write_csv(folder / "test.csv", [("d", "D")])
    assert pairs_of(folder, "test", AskedColumns("text", "summary")).sources == ["d"]
    (folder / "train.target").unlink()
    with pytest.raises(InputError, match=r"train\.target: No such file"):
        pairs_of(folder)


def test_tables_go_before_txt(folder: Path) -> None:
    (folder / "train.txt").write_text("notes on the table\n")
    (folder / "val.source.txt").write_text("v\n")
    (folder / "val.target.txt").write_text("V\n")
    assert pairs_of(folder).sources == ["a b", "", "c"] and pairs_of(folder, "val") == Pairs(["v"], ["V"])
    assert open_data(str(folder), NONE).has("val") and not open_data(str(folder), NONE).has("test")


def test_shards_are_one_table(folder: Path) -> None:
    (folder / "train.csv").unlink()
    for number, texts in enumerate((["a", "b"], ["c"])):
        table = pyarrow.table({"summary": texts, "document": texts})
        pyarrow.parquet.write_table(table, folder / f"train-{number:05}-of-00002.parquet")
    assert pairs_of(folder).sources == ["a", "b", "c"]
    (folder / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=f"^{folder}: of 2 files of the split train, number 0 is missing"):
        open_data(str(folder), NONE)


def test_a_faulty_table_leaves_nothing(folder: Path) -> None:
    with (folder / "train.csv").open("a") as file:
        file.write("one cell\n")
    for _ in range(2):
        with pytest.raises(InputError, match=r"train\.csv: row 4 \(line 6\) has 1 cells"):
            pairs_of(folder)
        assert kept(folder) == []
    write_csv(folder / "train.csv", [])
    with pytest.raises(InputError, match=r"train\.csv: has no rows"):
        pairs_of(folder)


def test_a_folder_that_takes_no_files(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache is used instead; if it cannot be written either, an error says so."""
    (folder / FOLDER).write_text("")  # so not even root can make the folder
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert pairs_of(folder).sources == ["a b", "", "c"]
    assert list((tmp_path / "cache").rglob("train.source"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / FOLDER))
    with pytest.raises(InputError, match="set XDG_CACHE_HOME to a folder for the line files"):
        pairs_of(folder)


def test_the_tokens_are_those_of_line_files_with_the_same_texts(tmp_path: Path) -> None:
    setup: TinySetup = write_tiny_setup(tmp_path)
    texts = read_pairs(setup.data, "train")
    (tmp_path / "tables").mkdir()
    write_csv(tmp_path / "tables" / "train.csv", list(zip(texts.sources, texts.targets, strict=True)))
    tokenizer, limits = BartTokenizer.from_pretrained(setup.tokenizer), TokenLimits(" ", 40, 12)
    lines = open_data(str(tmp_path / "tables"), NONE).lines_of("train")
    expected, tokens = (prepare_pairs(scan_split(data, "train"), tokenizer, limits) for data in (setup.data, lines))
    for side in ("sources", "targets"):
        assert getattr(tokens, side).checksum() == getattr(expected, side).checksum()
        assert np.array_equal(getattr(tokens, side).tokens, getattr(expected, side).tokens)
    assert tokens.lines.tolist() == list(range(61))


def test_a_path_that_is_not_there_yet_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before get_data.sh has made data/cnn_dm, the hub is not asked for it."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    data = open_data("data/cnn_dm", AskedColumns(None, None))
    with pytest.raises(InputError, match=r"data/cnn_dm/train\.source: No such file"):
        data.check_has(["train"])
