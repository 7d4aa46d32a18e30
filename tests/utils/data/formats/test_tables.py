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
from utils.data.formats import json_rows as json_module
from utils.data.formats import text_files
from utils.data.formats.json_rows import json_rows
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


def write_json_array(path: Path, rows: Rows, indent: int | None = None, **around: object) -> None:
    """As json.dump writes it, on one line or on many; with ``around``, in an object under ``data``."""
    array = [{"id": number, "text": text, "summary": summary} for number, (text, summary) in enumerate(rows)]
    content = {**around, "data": array, "license": None} if around else array
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8") as file:
        json.dump(content, file, indent=indent, ensure_ascii=indent is None)


def write_indented_json_array(path: Path, rows: Rows) -> None:
    write_json_array(path, rows, indent=2)


def write_json_object(path: Path, rows: Rows) -> None:
    write_json_array(path, rows, version=1.5, splits={"train": len(rows), "data": []})


def write_indented_json_object(path: Path, rows: Rows) -> None:
    write_json_array(path, rows, indent=1, version="1")


def write_semicolons(path: Path, rows: Rows) -> None:
    """As Excel does where a comma is the decimal point."""
    write_csv(path, rows, encoding="utf-8-sig", lineterminator="\r\n", delimiter=";")


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
    "csv with semicolons": ("train.csv", write_semicolons),
    "json array": ("train.json", write_json_array),
    "json array of many lines": ("train.json", write_indented_json_array),
    "json.gz array": ("train.json.gz", write_json_array),
    "json object": ("train.json", write_json_object),
    "json object of many lines": ("train.json", write_indented_json_object),
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
        (" Article , HIGHLIGHTS", (None, None), (" Article ", " HIGHLIGHTS")),
        ("Article,Highlights,text,summary", (None, None), ("text", "summary")),  # as written goes first
        ("Text,TEXT,summary,article", (None, "Summary"), ("article", "summary")),
        ("Body,head line", ("body", "Head Line "), ("Body", "head line")),
        ("Document;summary", (None, None), ("Document", "summary")),
        ('"my, text";"head"', ("my, text", "head"), ("my, text", "head")),
        ("a;b,text,summary", (None, None), ("text", "summary")),
        ("article_text,abstract_text", (None, None), ("article_text", "abstract_text")),
        ("dialogue,summary1,summary2", (None, None), ("dialogue", "summary1")),  # the test table of DialogSum
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


def test_a_list_of_sentences_is_one_text(tmp_path: Path) -> None:
    """As in arXiv, PubMed and BookSum; of Parquet too."""
    rows = [(["One.", "Two\nlines."], ["A", "B"]), ([], None), (["alone"], [""])]
    expected = [("One. Two lines.", "A B"), ("", ""), ("alone", "")]
    objects = [{"article_text": text, "abstract_text": summary} for text, summary in rows]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in objects))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects), tmp_path / "train.parquet")
    for name in ("train.jsonl", "train.parquet"):
        columns = find_columns(tmp_path / name, AskedColumns())
        assert list(read_tables([tmp_path / name], columns)) == expected


def test_shards_may_write_their_headers_differently(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("Text,Summary\na,A\n")
    (tmp_path / "2.csv").write_text("summary; text\nB;b\n")
    columns = find_columns(tmp_path / "1.csv", AskedColumns())
    assert list(read_tables([tmp_path / "1.csv", tmp_path / "2.csv"], columns)) == [("a", "A"), ("b", "B")]


def test_json_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a block ends: within an escape, a number, a word, a character, white space."""
    text = "\u00e4 \U0001f600 \\u0041"
    rows = [{"n": [-1.5e-7, True, None], "text": text, "summary": "s" * number} for number in range(9)]
    objects = ({"x": -12345, "data": rows, "y": False}, rows)
    for block in (*range(1, 12), 17, 40):
        monkeypatch.setattr(text_files, "_BLOCK_BYTES", block)
        for content in objects:
            for ensure_ascii, indent in ((True, None), (False, 3)):
                path = tmp_path / "train.json"
                path.write_text(json.dumps(content, ensure_ascii=ensure_ascii, indent=indent), encoding="utf-8-sig")
                assert [row for _, row in json_rows(path)] == rows


def test_lines_of_json_with_a_column_named_data(tmp_path: Path) -> None:
    """JSON Lines stay what they were: only an object that is alone in its file holds rows."""
    path = tmp_path / "train.json"
    row = '{"data": [{"speaker": "a"}], "text": "t", "summary": "s"}\n'
    path.write_text(row * 2)
    assert list(read_tables([path], find_columns(path, AskedColumns()))) == [("t", "s")] * 2
    path.write_text(row.replace('[{"speaker": "a"}]', '["a"]'))
    assert list(read_tables([path], find_columns(path, AskedColumns()))) == [("t", "s")]


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
    assert "has no column Title; it has body text, headline" in refused(path, ("body text", "Title"))
    assert "Give --text_column and --summary_column" in refused(path, ("body text", None))
    path.write_text("text,text,summary\n")
    assert "has more than one column text" in refused(path, ("text", "summary"))
    assert "Give --text_column" in refused(path)
    path.write_text("Text,TEXT,summary\n")  # either may be meant
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
        (GOOD + b'{"text": "a", "summary": ["b", 3]}\n', 'line 2 holds ["b", 3], which is not text'),
        (GOOD + b'{"text": "a", "summary": [["b"]]}\n', 'line 2 holds [["b"]], which is not text'),
        (GOOD + b'{"text": "a", "summary": ["b", "\\u0000"]}\n', "line 2 holds a NUL character"),
        (GOOD + b'{"text": "a\\u0000", "summary": ""}\n', "line 2 holds a NUL character"),
        (GOOD + b'{"text": "a", "summary": "\\ud83d"}\n', "line 2 holds half a character (U+D83D)"),
        (GOOD + b'{"text": "\xff"}\n', "line 2 is not UTF-8 at byte 11 (0xff)"),
        (GOOD + b"\n" + GOOD, "line 2 is empty, and rows follow"),
    ],
)
def test_broken_json_lines(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "val.jsonl").write_bytes(content)
    assert message in refused(tmp_path / "val.jsonl")


ROW = b'{"text": "a", "summary": "b"}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "is empty; give at least one row"),
        (b"[" + ROW, "line 1 is not JSON (Expecting ',' at column 31); write a list of objects, or each row as one"),
        (b"[\n" + ROW + b"\n" + ROW + b"]", "line 3 is not JSON (Expecting ',' at column 1)"),
        (b"[\n" + ROW + b",\n]", "line 3 is not JSON (Expecting value at column 1)"),
        (b"[" + ROW + b",\n 7]", "row 2 (line 2) is not a JSON object; write a list of objects"),
        (b"[" + ROW + b"]\n" + ROW, "line 2 is not JSON (Extra data at column 1)"),
        (b'[\n{"text": "a",\n "summ', "line 3 is not JSON (Unterminated string starting at at column 2)"),
        (b'[{"text": "a\nb"}]', "line 1 is not JSON (Invalid control character at at column 13)"),
        (b"[" + ROW + b',\n{"text": 7}]', "row 2 (line 2) holds 7, which is not text"),
        (b"[" + ROW + b',\n{"text": "\xff"}]', "line 2 is not UTF-8 at byte 11 (0xff)"),
        (b"[" + ROW + b',\n{"text": "\0"}]', "line 2, byte 11 is NUL"),
        (b"[" + ROW + b", " + b"[" * 100_000, "line 1 is not JSON"),
        (b'{\n"data": {}}', "holds a JSON object without a list of rows under `data`"),
        (b'{"data": [' + ROW + b'],\n"data": []}', "line 2 is not JSON (data is there twice"),
        (b'{"data": [' + ROW + b"]\n", "line 2 is not JSON (Expecting ',' at column 1)"),
        (b"{\n7: []}", "line 2 is not JSON (Expecting property name enclosed in double quotes at column 1)"),
        (GOOD[:-3] + b"\n" + GOOD, "line 1 is not JSON (Invalid control character at"),
        (b"text,summary\n", "line 1 is not JSON (Expecting value at column 1)"),
    ],
)
def test_broken_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "val.json").write_bytes(content)
    assert message in refused(tmp_path / "val.json")


def test_a_row_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_module, "LONGEST_CELL", 1000)
    monkeypatch.setattr(text_files, "_BLOCK_BYTES", 100)
    (tmp_path / "val.json").write_bytes(b"[" + ROW + b',\n{"text": "' + b"a" * 100_000)
    assert "the row that begins on line 2 has more than 1,000 characters" in refused(tmp_path / "val.json")


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
