"""Tables of every kind, as other programs write them, and the lines that they must become."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from bart.errors import InputError
from utils.data.formats.parquet import Columns
from utils.data.formats.table_names import SUFFIXES
from utils.data.formats.tables import AskedColumns, find_columns, read_tables

Rows = list[tuple[str | None, str | None]]
NAMES = ("text", "summary")
COLUMNS = Columns(*NAMES)


def write_csv(path: Path, rows: Rows, **settings: str) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="", encoding=settings.pop("encoding", "utf-8")) as file:
        csv.writer(file, **settings).writerows([("id", *NAMES), *((i, *row) for i, row in enumerate(rows))])


def write_tsv(path: Path, rows: Rows) -> None:
    write_csv(path, rows, dialect="excel-tab")


def write_excel_csv(path: Path, rows: Rows) -> None:
    write_csv(path, rows, encoding="utf-8-sig", lineterminator="\r\n")


def write_json_lines(path: Path, rows: Rows) -> None:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        for number, (text, summary) in enumerate(rows):
            row = {"id": number, "text": text, "summary": summary}
            if summary is None and number % 2:
                del row["summary"]
            file.write(json.dumps(row, ensure_ascii=bool(number % 2)) + "\n")


def write_parquet(path: Path, rows: Rows) -> None:
    texts, summaries = (pyarrow.array([row[side] for row in rows], pyarrow.string()) for side in (0, 1))
    columns = {"id": list(range(len(rows))), "text": texts, "summary": summaries.dictionary_encode()}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)


WRITERS: dict[str, tuple[str, Callable[[Path, Rows], None]]] = {
    "csv": ("train.csv", write_csv),
    "csv of Excel": ("train.csv", write_excel_csv),
    "csv.gz": ("train.csv.gz", write_csv),
    "tsv": ("train.tsv", write_tsv),
    "json lines": ("train.jsonl", write_json_lines),
    "json": ("train.json", write_json_lines),
    "jsonl.gz": ("train.jsonl.gz", write_json_lines),
    "parquet": ("train.parquet", write_parquet),
}
# Each cell, and the line that it becomes.
HOSTILE: list[tuple[str | None, str]] = [
    ("plain", "plain"),
    ('"quoted", said "she"', '"quoted", said "she"'),
    ("one\ntwo\r\nthree\rfour", "one two three four"),
    ("U+2028 \u2028 NEL \x85 VT \v FF \f FS \x1c", "U+2028 \u2028 NEL \x85 VT \v FF \f FS \x1c"),
    ("", ""),
    (None, ""),
    ("\n", " "),
    ("\U0001f600 \U0001f468\u200d\U0001f469 \u00e9 e\u0301", "\U0001f600 \U0001f468\u200d\U0001f469 \u00e9 e\u0301"),
    ("a,b;c\td|e\\n\\", "a,b;c\td|e\\n\\"),
    ("NULL", "NULL"),
    ("1.50", "1.50"),
    ("x" * 1_000_000, "x" * 1_000_000),
    ("\ufeffmark", "\ufeffmark"),
]


def test_every_suffix_is_tried_here() -> None:
    """So that a suffix without a reader of its own is noticed."""
    suffixes = {suffix.removesuffix(".gz") for suffix in SUFFIXES}
    assert suffixes == {Path(name.removesuffix(".gz")).suffix for name, _ in WRITERS.values()}


@pytest.mark.parametrize("kind", WRITERS)
def test_hostile_cells_become_the_expected_lines(tmp_path: Path, kind: str) -> None:
    name, write = WRITERS[kind]
    rows = [(cell, HOSTILE[-1 - number][0]) for number, (cell, _) in enumerate(HOSTILE)]
    write(tmp_path / name, rows)
    assert find_columns(tmp_path / name, AskedColumns()) == COLUMNS
    pairs = list(read_tables([tmp_path / name], COLUMNS))
    lines = [line for _, line in HOSTILE]
    assert [pair.source for pair in pairs] == lines
    assert [pair.target for pair in pairs] == lines[::-1]


def test_several_files_are_read_one_after_another(tmp_path: Path) -> None:
    write_parquet(tmp_path / "1.parquet", [("a", "A"), ("b", "B")])
    write_parquet(tmp_path / "2.parquet", [("c", "C")])
    pairs = read_tables([tmp_path / "1.parquet", tmp_path / "2.parquet"], COLUMNS)
    assert [pair.source for pair in pairs] == ["a", "b", "c"]


def test_blank_lines_at_the_end_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,summary\na,b\n\n\n")
    (tmp_path / "b.jsonl").write_text('{"text": "a", "summary": "b"}\n\n \n')
    for name in ("a.csv", "b.jsonl"):
        assert list(read_tables([tmp_path / name], COLUMNS)) == [("a", "b")]


@pytest.mark.parametrize(
    ("header", "asked", "expected"),
    [
        ("id,highlights,article", (None, None), ("article", "highlights")),
        ("summary,document,text", (None, None), ("document", "summary")),
        ("dialogue,summary", (None, None), ("dialogue", "summary")),
        ("source,target,abstract", (None, None), ("source", "target")),
        ("text,summary,note", ("note", "text"), ("note", "text")),
        ("text,summary,article", (None, "summary"), ("text", "summary")),
        ("text,summary,article,highlights", ("text", None), ("text", "summary")),
    ],
)
def test_columns_are_found_or_named(
    tmp_path: Path, header: str, asked: tuple[str | None, str | None], expected: tuple[str, str]
) -> None:
    (tmp_path / "train.csv").write_text(header + "\n")
    assert find_columns(tmp_path / "train.csv", AskedColumns(*asked)) == expected


def test_the_rows_of_json_lines_need_not_have_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"text": "a"}\n{"summary": "B"}\n{}\n')
    assert find_columns(path, AskedColumns()) == COLUMNS
    assert list(read_tables([path], COLUMNS)) == [("a", ""), ("", "B"), ("", "")]


def refused(path: Path, asked: tuple[str | None, str | None] = (None, None)) -> str:
    with pytest.raises(InputError) as caught:
        list(read_tables([path], find_columns(path, AskedColumns(*asked))))
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("body text,headline," + "x" * 1000 + "\n")
    assert f"Give --text_column and --summary_column; it has body text, headline, {'x' * 40}..." in refused(path)
    unseen = tmp_path / "test.csv"
    unseen.write_text("\vtext,summary\n")
    assert r"it has '\x0btext', summary" in refused(unseen)
    assert "has no column Headline; it has body text, headline" in refused(path, ("body text", "Headline"))
    assert "Give --text_column and --summary_column" in refused(path, ("body text", None))
    path.write_text("text,text,summary\n")
    assert "has more than one column text" in refused(path, ("text", "summary"))
    assert "Give --text_column" in refused(path)
    write_csv(tmp_path / "whole.csv", [("a", "b")])
    with pytest.raises(InputError, match=r"train\.csv: has more than one column text"):
        list(read_tables([tmp_path / "whole.csv", path], COLUMNS))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; line 1 must name the columns"),
        (b"\ntext,summary\n", "line 1 is empty"),
        (b'text,summary\n"a\nb",c\nd\n', "row 2 (line 4) has 1 cells, and line 1 names 2 columns"),
        (b"text,summary\na,b\nc,d,e\n", "row 2 (line 3) has 3 cells"),
        (b"text,summary\na,b\n\nc,d\n", "row 2 (line 3) is empty, and rows follow"),
        (b'text,summary\na,b\n"c,d\ne,f\n', "the row that begins on line 3 is broken: unexpected end of data"),
        (b'text,summary\n"a"b,c\n', "the row that begins on line 2 is broken"),
        (b"text,summary\na,b\nc\xff,d\n", "line 3 is not UTF-8 at byte 2 (0xff); convert the file to UTF-8"),
        (b"text,summary\na,\0\n", "line 2, byte 3 is NUL"),
        ("text,summary\n".encode("utf-16"), "line 1 is not UTF-8 at byte 1"),
    ],
)
def test_broken_csv(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "val.csv").write_bytes(content)
    assert message in refused(tmp_path / "val.csv")


GOOD = b'{"text": "a", "summary": "b"}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give at least one row"),
        (GOOD + b'{"text": "a", "summ', "line 2 is not JSON (Unterminated string starting at at column 15)"),
        (GOOD + b"[" * 100_000 + b"\n", "line 2 is not JSON"),
        (b'[{"text": "a", "summary": "b"}]\n', "line 1 is not a JSON object; write each row as one object on one line"),
        (b'[\n  {"text": "a", "summary": "b"}\n]\n', "line 1 is not JSON (Expecting value"),
        (GOOD + b'{"text": 7, "summary": "b"}\n', "line 2 holds 7, which is not text"),
        (GOOD + b'{"text": "a", "summary": ["b", "c"]}\n', 'line 2 holds ["b", "c"], which is not text'),
        (GOOD + b'{"text": "a\\u0000", "summary": ""}\n', "line 2 holds a NUL character"),
        (GOOD + b'{"text": "a", "summary": "\\ud83d"}\n', "line 2 holds half a character (U+D83D)"),
        (GOOD + b'{"text": "\xff"}\n', "line 2 is not UTF-8 at byte 11 (0xff)"),
        (GOOD + b"\n" + GOOD, "line 2 is empty, and rows follow"),
    ],
)
def test_broken_json_lines(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "val.jsonl").write_bytes(content)
    assert message in refused(tmp_path / "val.jsonl")


def test_broken_parquet(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    path.write_text("<html>")
    assert "cannot be read as Parquet" in refused(path)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b"], "summary": [None, 2]}), path)
    assert "row 2 holds 2, which is not text" in refused(path)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", "b\0"], "summary": ["", ""]}), path)
    assert "row 2 holds a NUL character" in refused(path)
    bad = pyarrow.array([b"a", b"b", b"\xff"]).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": bad, "summary": ["", "", ""]}), path)
    assert "row 3 is not UTF-8" in refused(path)
    write_parquet(path, [("a", "b")])
    path.write_bytes(path.read_bytes()[:-20])
    assert "cannot be read as Parquet" in refused(path)


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "train.csv.gz"
    write_csv(path, [(f"{number}", "b" * 100) for number in range(1000)])
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read: Compressed file ended" in refused(path)
    path.write_text("text,summary\na,b\n")
    assert "cannot be read: Not a gzipped file" in refused(path)
    assert "No such file" in refused(tmp_path / "absent.jsonl")
