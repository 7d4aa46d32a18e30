"""Reads random files: either every row of them, or an error of one line says why not.

Any error but an InputError fails. The expected rows are found without the code under test: by methods of bytes and
strings, and by Python's csv and json.
"""

import codecs
import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import write_tiny_setup
from tests.utils.data.formats.test_tables import COLUMNS, WRITERS
from utils.data.divided import open_splits, split_of
from utils.data.formats.tables import AskedColumns, find_columns, read_tables
from utils.data.line_files import read_lines, scan
from utils.data.sources import open_data
from utils.data.splits import complete_pairs, read_pairs, scan_split
from utils.data.tokens.pair_cache import TokenLimits, open_prepared, write_prepared

# Inputs of each test. The long form tries 12,500: bash scripts/test.sh -m slow tests/utils/data/test_data_fuzz.py
FORMS = [
    pytest.param(50, id="short"),
    pytest.param(2500, id="long", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]
_ODD = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0\ufeff\",;\t'\\{}[]:|<> \u3000ab\u00e4\u0301\U0001f600"

texts = st.text(st.one_of(st.sampled_from(_ODD), st.characters(codec="utf-8")), max_size=12)
cells = st.one_of(st.none(), texts, st.just("a longer text, of several words, " * 9))
rows = st.lists(st.tuples(cells, cells), min_size=1, max_size=8)
contents = st.one_of(
    st.lists(st.one_of(texts.map(str.encode), st.binary(max_size=6)), max_size=8).map(b"\n".join),
    st.binary(max_size=60),
    st.tuples(st.just(codecs.BOM_UTF8), texts.map(str.encode)).map(b"".join),
)
# (place as a share of the length, bytes to delete there, bytes to insert there)
edits = st.lists(
    st.tuples(
        st.floats(0, 1), st.integers(0, 3), st.one_of(st.binary(max_size=3), st.sampled_from([b'"', b"\n", b"\r"]))
    ),
    min_size=1,
    max_size=3,
)


def try_many(inputs: int, check: Callable[..., None], **strategies: st.SearchStrategy[Any]) -> None:
    """Check so many inputs; the short form draws the same ones every time."""
    limits = settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        derandomize=inputs < 1000,
        suppress_health_check=list(HealthCheck),
    )
    limits(given(**strategies)(check))()


def refusal(read: Callable[[], Any], path: Path) -> str | None:
    """Return the message if the file is refused, which is one line that names it; None if it is read."""
    try:
        read()
    except InputError as error:
        assert str(path) in str(error) and str(error).splitlines() == [str(error)]
        return str(error)
    return None


def lines_of(content: bytes) -> tuple[list[str], int | None]:
    """Return the lines of a file before the first faulty one, and the number of that, from 1."""
    content = content.removeprefix(codecs.BOM_UTF8)
    parts = content.split(b"\n")
    read = []
    for number, part in enumerate(parts if parts[-1] else parts[:-1], start=1):
        if b"\0" in part:
            return read, number
        try:
            read.append(part.removesuffix(b"\r").decode())
        except UnicodeDecodeError:
            return read, number
    return read, None


@pytest.mark.parametrize("inputs", FORMS)
def test_line_files(tmp_path: Path, inputs: int) -> None:
    path = tmp_path / "train.source"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        expected, faulty = lines_of(content)
        for read in (read_lines, scan):
            said = refusal(lambda read=read: read(path), path)
            assert (said is None) == (faulty is None)
            assert said is None or f"line {faulty}" in said
        if faulty is None:
            assert read_lines(path) == expected and scan(path).lines == len(expected)

    try_many(inputs, check, content=contents)


@pytest.mark.parametrize("inputs", FORMS)
def test_tokens_are_those_of_their_lines(tmp_path: Path, inputs: int) -> None:
    """Every pair with both texts is there, in order; the others are counted."""
    tokenizer = BartTokenizer.from_pretrained(write_tiny_setup(tmp_path).tokenizer)
    paths = [tmp_path / f"train.{side}" for side in ("source", "target")]
    tries = iter(range(10**6))

    def check(rows: list[tuple[str | None, str | None]]) -> None:
        lines = [[re.sub(r"[\n\0]", "", row[side] or "").removesuffix("\r") for row in rows] for side in (0, 1)]
        for path, side in zip(paths, lines, strict=True):
            path.write_bytes("".join(f"{line}\n" for line in side).encode())
        lines[0][0], lines[1][0] = (side[0].removeprefix("\ufeff") for side in lines)  # a byte order mark
        assert read_pairs(tmp_path, "train").sources == lines[0] and read_pairs(tmp_path, "train").targets == lines[1]
        files = scan_split(tmp_path, "train")
        whole = [row for row in range(len(rows)) if lines[0][row].strip() and lines[1][row].strip()]
        assert list(complete_pairs(files)) == [(row, lines[0][row], lines[1][row]) for row in whole]
        folder = tmp_path / str(next(tries))
        folder.mkdir()
        if not whole:
            with pytest.raises(InputError, match="every pair has an empty source or target"):
                write_prepared(folder, files, tokenizer, TokenLimits(" ", 30, 12))
            return
        write_prepared(folder, files, tokenizer, TokenLimits(" ", 30, 12))
        prepared = open_prepared(folder)
        assert prepared is not None and prepared.lines.tolist() == whole and prepared.left_out == len(rows) - len(whole)
        for side, store, length in ((0, prepared.sources, 30), (1, prepared.targets, 12)):
            expected = tokenizer([" " + lines[side][row] for row in whole], max_length=length, truncation=True)
            assert [store[index].tolist() for index in range(len(whole))] == expected["input_ids"]

    try_many(inputs, check, rows=rows)


@pytest.mark.parametrize("inputs", [pytest.param(10, id="short"), FORMS[1]])
def test_divided_files(tmp_path: Path, inputs: int) -> None:
    """Every row is in one split, with its number; rows that are added or moved change no other's split."""
    shares = (0.4, 0.3, 0.3)

    def check(rows: list[tuple[str | None, str | None]], order: Random) -> None:
        lines = [tuple(re.sub(r"[\n\0]", "", cell or "") for cell in row) for row in rows]
        lines += [(f"{row}", "") for row in range(40)]  # so that no split is empty
        order.shuffle(lines)
        for side, place in (("source", 0), ("target", 1)):
            (tmp_path / f"train.{side}").write_bytes("".join(f"{line[place]}\n" for line in lines).encode())
        whole = read_pairs(tmp_path, "train")
        data, numbers = open_splits(str(tmp_path), AskedColumns(), shares), []
        for split in ("train", "val", "test"):
            pairs = read_pairs(data.lines_of(split), split, rows=data.rows_of(split))
            assert pairs.sources == [whole.sources[row] for row in pairs.rows.numbers]
            assert pairs.targets == [whole.targets[row] for row in pairs.rows.numbers]
            assert {split_of(text.removesuffix("\r"), shares) for text in pairs.sources} == {split}
            numbers += pairs.rows.numbers.tolist()
        assert sorted(numbers) == list(range(len(lines)))

    try_many(inputs, check, rows=rows, order=st.randoms())


def as_line(cell: str | list[str] | None) -> str:
    text = " ".join(cell) if isinstance(cell, list) else cell or ""
    return re.sub(r"\r\n|\r|\n", " ", text)


@pytest.mark.parametrize("inputs", FORMS)
def test_tables(tmp_path: Path, inputs: int) -> None:
    """Row i of a table of any kind, as other programs write them, becomes line i of the line files."""

    def check(kind: str, rows: list[tuple[str | None, str | None]]) -> None:
        name, write = WRITERS[kind]
        path = tmp_path / name
        write(path, rows)
        if any("\0" in (cell or "") for row in rows for cell in row):
            said = refusal(lambda: list(read_tables([path], COLUMNS)), path)
            first = next(number for number, row in enumerate(rows, 1) if "\0" in f"{row[0]}{row[1]}")
            assert said is not None and ("NUL" in said)
            assert "row" not in said or f"row {first} " in said
        else:
            assert find_columns(path, AskedColumns()) == COLUMNS
            expected = [tuple(map(as_line, row)) for row in rows]
            assert list(read_tables([path], COLUMNS)) == expected
            pairs = read_pairs(open_data(str(tmp_path), AskedColumns()).lines_of("train"), "train")
            for number, (source, target) in enumerate(expected):
                mark = "\ufeff" if number == 0 else ""  # at the start of a file it marks UTF-8, and is no text
                assert pairs.sources[number] == source.removeprefix(mark)
                assert pairs.targets[number] == target.removeprefix(mark)
            assert len(pairs) == len(rows)
        path.unlink()

    try_many(inputs, check, kind=st.sampled_from(list(WRITERS)), rows=rows)


spellings = st.sampled_from(["text/summary", "Text/SUMMARY", "TEXT / Summary", "text /summary  ", "sUMMARY/Text"])
listed_rows = st.lists(st.tuples(*[st.one_of(cells, st.lists(texts, max_size=3))] * 2), min_size=1, max_size=6)


@pytest.mark.parametrize("inputs", [pytest.param(20, id="short"), FORMS[1]])
def test_headers_and_lists(tmp_path: Path, inputs: int) -> None:
    """However the columns are spelled and the sentences of a cell are kept apart, row i becomes line i."""

    def check(kind: str, spelled: str, rows: list[tuple[Any, Any]]) -> None:
        names = spelled.split("/")
        path = tmp_path / f"train.{kind.partition(' ')[0]}"
        if kind.startswith("csv"):
            rows = [tuple(map(as_line, row)) for row in rows]
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, delimiter=kind[-1]).writerows([names, *rows])
        else:
            objects = [dict(zip(names, row, strict=True)) for row in rows]
            content = {"data": objects} if "object" in kind else objects
            path.write_text(json.dumps(content, indent=1 if "lines" in kind else None), encoding="utf-8")
        text = next(number for number, name in enumerate(names) if name.strip().lower() == "text")
        read: list[tuple[str, str]] = []
        said = refusal(lambda: read.extend(read_tables([path], find_columns(path, AskedColumns()))), path)
        if any("\0" in as_line(cell) for row in rows for cell in row):
            assert said is not None and "NUL" in said
        else:
            assert read == [(as_line(row[text]), as_line(row[1 - text])) for row in rows]
        path.unlink()

    kinds = ["csv ,", "csv ;", "json array", "json array lines", "json object", "json object lines"]
    try_many(inputs, check, kind=st.sampled_from(kinds), spelled=spellings, rows=listed_rows)


def edited(content: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for place, deleted, inserted in changes:
        at = round(place * len(content))
        content = content[:at] + inserted + content[at + deleted :]
    return content


def rows_by_python(path: Path) -> list[tuple[str, str]]:
    """Read a table, but not Parquet, by Python's own modules. Raises whatever they raise."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = content.removeprefix(codecs.BOM_UTF8).decode()
    if ".json" in path.name:
        try:
            whole = json.loads(text)
        except ValueError:
            whole = None
        if isinstance(whole, list) or (isinstance(whole, dict) and isinstance(whole.get("data"), list)):
            objects = whole if isinstance(whole, list) else whole["data"]
        else:
            objects = [json.loads(line) for line in text.split("\n") if line.strip()]
        names = list(dict.fromkeys(name for row in objects for name in row))
        found = [as_usual(names, usual) for usual in ("text", "summary")]
        return [tuple(as_line(row.get(name)) for name in found) for row in objects]
    delimiter = "\t" if ".tsv" in path.name else ","
    if ";" in text.partition("\n")[0] and ".csv" in path.name and "," not in text.partition("\n")[0]:
        delimiter = ";"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header, *table = [row for row in reader if row]
    places = [header.index(as_usual(header, usual)) for usual in ("text", "summary")]
    return [(as_line(row[places[0]]), as_line(row[places[1]])) for row in table]


def as_usual(names: list[str], usual: str) -> str:
    """Find the name of a column, with other capitals or with spaces around if it is not there as it is."""
    return usual if usual in names else next(name for name in names if name.strip(" ").lower() == usual)


@pytest.mark.parametrize("inputs", FORMS)
def test_damaged_tables(tmp_path: Path, inputs: int) -> None:
    """If a damaged table is read at all, its rows are those that Python reads."""

    def check(kind: str, rows: list[tuple[str | None, str | None]], changes: list[tuple[float, int, bytes]]) -> None:
        name, write = WRITERS[kind]
        path = tmp_path / name
        write(
            path,
            [(source and source.replace("\0", ""), target and target.replace("\0", "")) for source, target in rows],
        )
        path.write_bytes(edited(path.read_bytes(), changes))
        read: list[tuple[str, str]] = []
        said = refusal(lambda: read.extend(read_tables([path], find_columns(path, AskedColumns()))), path)
        if said is None and path.suffix != ".parquet":  # which has no checksums
            assert read == rows_by_python(path)

    try_many(inputs, check, kind=st.sampled_from(list(WRITERS)), rows=rows, changes=edits)


@pytest.mark.parametrize("inputs", FORMS)
def test_data_folders(tmp_path: Path, inputs: int) -> None:
    """Whatever lies under the name of a table or of line files, valid line files are made of it, or none."""
    names = ["train.csv", "train.tsv", "train.jsonl", "train.json", "train.parquet", "train.csv.gz", "train.jsonl.gz"]
    names += ["train.source", "train.target"]

    def check(name: str, content: bytes) -> None:
        path = tmp_path / name
        head = {"csv": b"text,summary\n", "tsv": b"text\tsummary\n"}.get(name.split(".")[1], b"")
        content = head + content
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

        def read() -> None:
            folder = open_data(str(tmp_path), AskedColumns()).lines_of("train")
            assert len(read_pairs(folder, "train")) == len(list(read_tables([path], COLUMNS)))

        said = refusal(read, tmp_path)
        assert said is not None or not name.endswith(("parquet", "source", "target"))
        assert not [left for left in (tmp_path / ".prepared").rglob("*") if "part" in left.name]
        path.unlink()

    try_many(inputs, check, name=st.sampled_from(names), content=contents)
