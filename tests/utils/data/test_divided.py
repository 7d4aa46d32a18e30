"""Divides a table or a pair of line files by --split; test_divided_runs.py of tests/end_to_end trains with it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from bart.errors import InputError
from utils.cli.shared_args import Shares, shares_of, three_shares
from utils.data.divided import open_splits, split_of
from utils.data.formats.tables import AskedColumns
from utils.data.splits import Pairs, read_pairs
from utils.io.artifact_cache import FOLDER

NONE = AskedColumns()
SHARES: Shares = (0.8, 0.1, 0.1)
SPLITS = ("train", "val", "test")
TEXTS = [f"text {number}, \u00e4\u2028" for number in range(400)]


def write_lines(folder: Path, texts: list[str], names: tuple[str, str] = ("train.source", "train.target")) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / names[0]).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8", newline="")
    targets = "".join(f"summary of {text}\n" for text in texts)
    (folder / names[1]).write_text(targets, encoding="utf-8", newline="")
    return folder


def divided(data_dir: Path, shares: Shares = SHARES) -> dict[str, Pairs]:
    data = open_splits(str(data_dir), NONE, shares)
    return {
        split: read_pairs(data.lines_of(split), split, rows=data.rows_of(split)) for split in SPLITS if data.has(split)
    }


def texts_by_split(data_dir: Path) -> dict[str, set[str]]:
    return {split: set(pairs.sources) for split, pairs in divided(data_dir).items()}


def test_every_pair_is_in_one_split_and_keeps_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = divided(write_lines(tmp_path / "data", TEXTS))
    rows = np.concatenate([pairs.rows.numbers for pairs in splits.values()])
    assert sorted(rows) == list(range(400))
    for split, pairs in splits.items():
        assert pairs.rows.path == tmp_path / "data" / "train.source"
        assert list(pairs.rows.numbers) == sorted(pairs.rows.numbers)
        assert pairs.sources == [TEXTS[row] for row in pairs.rows.numbers]
        assert pairs.targets == [f"summary of {TEXTS[row]}" for row in pairs.rows.numbers]
        assert all(split_of(text, SHARES) == split for text in pairs.sources)
    counts = {split: len(pairs) for split, pairs in splits.items()}
    assert 290 <= counts["train"] <= 350 and 20 <= counts["val"] <= 60 and 20 <= counts["test"] <= 60
    numbers = ", ".join(f"{count} {split}" for split, count in counts.items())
    assert capsys.readouterr().out == f"{tmp_path / 'data'}: 400 pairs, divided by a hash of the text: {numbers}\n"


def test_the_splits_of_known_texts() -> None:
    """They must not change from one version to the next: a test split would be learnt from."""
    expected = "train val train test train train val train"
    assert " ".join(split_of(text, (0.4, 0.3, 0.3)) for text in "abcdefgh") == expected
    assert split_of("", (0.01, 0.01, 0.98)) == split_of(" \u3000", (0.01, 0.01, 0.98)) == "train"
    assert split_of(" a\t", SHARES) == split_of("a", SHARES)


def test_a_pair_stays_in_its_split_when_others_come_and_go(tmp_path: Path) -> None:
    before = texts_by_split(write_lines(tmp_path / "data", TEXTS))
    more = [f"new {number}" for number in range(100)]
    after = texts_by_split(write_lines(tmp_path / "data", [*more, *TEXTS[::-1], *more]))
    for split in SPLITS:
        assert after[split] & set(TEXTS) == before[split]
    assert len(list((tmp_path / "data" / FOLDER).glob("split-*"))) == 1  # the outdated one is gone


def test_equal_texts_are_in_one_split(tmp_path: Path) -> None:
    splits = divided(write_lines(tmp_path / "data", [*TEXTS, *TEXTS[::3], *(f" {text}" for text in TEXTS[::5])]))
    found = {split: {text.strip() for text in pairs.sources} for split, pairs in splits.items()}
    assert not (found["train"] & found["val"] | found["train"] & found["test"] | found["val"] & found["test"])


def test_the_same_texts_are_divided_alike_in_every_form(tmp_path: Path) -> None:
    """A folder of line files, of lines in .txt, of a table, and a table itself; each with its rows."""
    texts = [text.replace("\u2028", " x") for text in TEXTS[:60]]
    expected = divided(write_lines(tmp_path / "lines", texts))
    rows = [{"text": text, "summary": f"summary of {text}"} for text in texts]
    for name in ("table", "txt", "tables"):
        (tmp_path / name).mkdir()
    write_lines(tmp_path / "txt", texts, ("train.txt", "train.target.txt"))
    with (tmp_path / "table" / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "summary"), *(row.values() for row in rows)])
    (tmp_path / "tables" / "dialogues.json").write_text(json.dumps(rows))
    (tmp_path / "tables" / "val.csv").write_text("is of another table")
    for place in ("table", "txt", "tables/dialogues.json"):
        for split, pairs in divided(tmp_path / place).items():
            assert (pairs.sources, pairs.targets) == (expected[split].sources, expected[split].targets)
            assert np.array_equal(pairs.rows.numbers, expected[split].rows.numbers)


def test_marks_and_line_ends_stay_with_their_texts(tmp_path: Path) -> None:
    """Only the first byte order mark of a file, and one \\r before its end, are no text."""
    raw = [b"\xef\xbb\xbffirst\r\n", *(b"\xef\xbb\xbf%d\r\r\n" % number for number in range(60)), b"last"]
    (tmp_path / "train.source").write_bytes(b"".join(raw))
    (tmp_path / "train.target").write_text("".join(f"{number}\n" for number in range(62)))
    whole = read_pairs(tmp_path, "train")
    assert whole.sources[:2] == ["first", "\ufeff0\r"] and whole.sources[-1] == "last"
    for pairs in divided(tmp_path).values():
        assert pairs.sources == [whole.sources[row] for row in pairs.rows.numbers]
        assert pairs.targets == [str(row) for row in pairs.rows.numbers]


def test_without_a_share_there_is_no_test_split(tmp_path: Path) -> None:
    data = open_splits(str(write_lines(tmp_path, TEXTS)), NONE, (0.9, 0.1, 0.0))
    assert not data.has("test") and len(divided(tmp_path, (0.9, 0.1, 0.0))) == 2
    with pytest.raises(InputError, match=r"^--split 0\.9,0\.1,0: gives no pair of .* to test; give it a share$"):
        data.check_has(["val", "test"])


def test_limits_keep_the_rows_of_the_pairs(tmp_path: Path) -> None:
    data = open_splits(str(write_lines(tmp_path, TEXTS)), NONE, SHARES)
    pairs = read_pairs(data.lines_of("val"), "val", 3, rows=data.rows_of("val"))
    assert pairs.sources == [TEXTS[row] for row in pairs.rows.numbers] and len(pairs) == 3


def test_what_cannot_be_divided(tmp_path: Path) -> None:
    def refused(data_dir: Path) -> str:
        with pytest.raises(InputError) as caught:
            divided(data_dir)
        return str(caught.value)

    write_lines(tmp_path / "data", TEXTS)
    (tmp_path / "data" / "validation.csv").write_text("text,summary\na,b\n")
    assert "data has a val split already; omit --split, or move its files away" in refused(tmp_path / "data")
    assert "empty/train.source: No such file" in refused(tmp_path / "empty")
    assert f"{tmp_path / 'data' / 'train.source'}: is a file" in refused(tmp_path / "data" / "train.source")
    few = write_lines(tmp_path / "few", ["a", "a", "a"])
    assert "none of the 3 pairs of " in refused(few) and "give it a larger share, or add pairs" in refused(few)
    (few / "train.target").write_text("one\n")
    assert f"{few / 'train.source'} has 3 lines, {few / 'train.target'} has 1" in refused(few)
    (few / "train.target").write_bytes(b"one\ntwo\n\xff\n")
    assert f"{few / 'train.target'}: line 3 is not UTF-8" in refused(few)
    table = tmp_path / "table.csv"
    table.write_text("text,summary\na,b\nc\n")
    assert f"{table}: row 2 (line 3) has 1 cells" in refused(table)
    with pytest.raises(InputError, match=r"table\.csv: is a file; give its folder, or if it is a table --split"):
        open_splits(str(table), NONE, None)


@pytest.mark.parametrize("text", ["0.9", "0.9,0.1", "0.9,0.05,0.06", "1,0,0", "0,0.5,0.5", "a,b,c", "2,-0.5,-0.5", ""])
def test_shares_that_are_none(text: str) -> None:
    assert three_shares(text) is not None


def test_shares() -> None:
    for text, shares in (("0.9,0.05,0.05", (0.9, 0.05, 0.05)), ("0.7,.3,0", (0.7, 0.3, 0)), ("0.34,0.33,0.33", None)):
        assert three_shares(text) is None and shares in (None, shares_of(text))
    assert three_shares("nan,0.5,0.5") is not None and shares_of(None) is None
