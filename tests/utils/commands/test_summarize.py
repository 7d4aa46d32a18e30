"""Files in and out of the program that summarizes: text, CSV, TSV, JSON Lines and Parquet."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.commands import run
from tests.tiny_setup import TinySetup
from utils import Summarizer
from utils.cli.parser import parse_arguments
from utils.cli.summarize_args import SummarizeArguments
from utils.commands.summarize import summarize
from utils.data.splits import read_pairs

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def texts(setup: TinySetup) -> list[str]:
    return read_pairs(setup.data, "test").sources


@pytest.fixture(scope="module")
def expected(folder: Path, texts: list[str]) -> list[str]:
    return Summarizer.from_pretrained(str(folder), device="cpu")(texts)


@pytest.fixture
def inputs(texts: list[str], tmp_path: Path) -> Path:
    """The same rows in every format: an id, the text, and the date of Parquet's row."""
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        with (tmp_path / f"in{suffix}").open("w", newline="") as file:
            rows = csv.writer(file, delimiter=delimiter)
            rows.writerow(["id", "article"])
            rows.writerows([str(number), text.replace(" ", "\r\n", 1)] for number, text in enumerate(texts))
    rows = [{"id": number, "article": text, "tags": [number, "é"]} for number, text in enumerate(texts)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    columns = {"id": pyarrow.array(range(len(texts)), pyarrow.int16()), "article": texts}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "in.parquet")
    return tmp_path


def command(folder: Path, *arguments: object) -> None:
    argv = [str(folder), *map(str, arguments), "--device", "cpu"]
    summarize(parse_arguments(SummarizeArguments, "", argv))


def read_delimited(path: Path, delimiter: str) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_consensus_by_flags(folder: Path, inputs: Path, expected: list[str]) -> None:
    """The seed decides which samples there are."""
    flags = ["--rerank", "consensus", "--rerank_utility", "mean", "--rerank_samples", 4, "--rerank_temperature", 1.5]
    found = []
    for number, seed in enumerate((1, 1, 2)):
        output = inputs / f"{number}.txt"
        command(folder, inputs / "in.txt", *flags, "--seed", seed, "--output", output)
        found.append(output.read_text(encoding="utf-8").splitlines())
    assert found[0] == found[1] != found[2] and expected not in found
    with pytest.raises(InputError, match="--rerank_samples 4: has no effect without --rerank consensus"):
        command(folder, inputs / "in.txt", "--rerank_samples", 4)


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_into_every_format(
    folder: Path, inputs: Path, suffix: str, texts: list[str], expected: list[str], capsys
) -> None:
    source = inputs / f"in{suffix}"
    columns = ["text"] if suffix == ".txt" else ["id", "article"] + ["tags"] * (suffix == ".jsonl")
    command(folder, source, "--output", inputs / "out.txt")
    assert (inputs / "out.txt").read_text(encoding="utf-8").splitlines() == expected

    command(folder, source, "--output", inputs / "out.jsonl")
    rows = [json.loads(line) for line in (inputs / "out.jsonl").read_text().splitlines()]
    assert [list(row) for row in rows] == [[*columns, "summary"]] * len(texts)
    assert [row["summary"] for row in rows] == expected

    command(folder, source, "--output", inputs / "out.csv", "--summary_column", "short")
    header, *cells = read_delimited(inputs / "out.csv", ",")
    assert header == [*columns, "short"] and [row[-1] for row in cells] == expected
    if suffix == ".csv":  # unchanged, line breaks in a cell too
        assert [row[:-1] for row in cells] == read_delimited(source, ",")[1:]
    if suffix == ".jsonl":
        assert cells[1][2] == '[1, "é"]'

    command(folder, source, "--output", inputs / "out.tsv")
    assert [row[-1] for row in read_delimited(inputs / "out.tsv", "\t")] == ["summary", *expected]

    if suffix != ".jsonl":  # its lists of a number and a text have no type
        command(folder, source, "--output", inputs / "out.parquet")
        table = pyarrow.parquet.read_table(inputs / "out.parquet")
        assert table.column_names == [*columns, "summary"] and table["summary"].to_pylist() == expected
        if suffix == ".parquet":
            assert table.schema.field("id").type == pyarrow.int16()
    assert not list(inputs.glob("*.part")) and not list(inputs.glob(".*"))
    assert capsys.readouterr().out == ""


def test_printed(folder: Path, inputs: Path, texts: list[str], expected: list[str], capsys) -> None:
    """Several files keep their order; a table prints its row as JSON."""
    command(folder, inputs / "in.txt", inputs / "in.csv", inputs / "in.parquet", "--bs", 5)
    assert capsys.readouterr() == ("".join(f"{summary}\n" for summary in 3 * expected), "")
    command(folder, inputs / "in.jsonl", "--json", "--text_column", "article")
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == {"id": 1, "article": texts[1], "tags": [1, "é"], "summary": expected[1]}


def test_the_speed_is_said_beside_a_file(folder: Path, inputs: Path, capsys) -> None:
    command(folder, inputs / "in.txt", "--output", inputs / "out.txt")
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("7 summaries in ") and " per second, after " in said.err
    assert said.err.count("\n") == 1


def test_each_file_is_one_text(folder: Path, inputs: Path, texts: list[str], capsys) -> None:
    (inputs / "second.csv").write_text("a text, which is\nno table\n")
    command(folder, inputs / "in.txt", inputs / "second.csv", "--one_text")
    both = Summarizer.from_pretrained(str(folder), device="cpu")([" ".join(texts), "a text, which is no table"])
    assert capsys.readouterr().out.splitlines() == both


def test_json_columns_without_a_value(folder: Path, tmp_path: Path) -> None:
    rows = [{"text": "a text", "note": None}, {"text": "b text", "size": 2}, {"text": None}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command(folder, tmp_path / "in.jsonl", "--output", tmp_path / "out.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert table.schema.names == ["text", "note", "size", "summary"]
    assert table["size"].to_pylist() == [None, 2, None] and table["note"].to_pylist() == [None] * 3
    assert table["summary"].to_pylist()[2] == ""
    command(folder, tmp_path / "in.jsonl", "--output", tmp_path / "out.csv")
    assert [row[:3] for row in read_delimited(tmp_path / "out.csv", ",")[1:]] == [
        ["a text", "", ""], ["b text", "", "2"], ["", "", ""]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["in.txt", "--output", "out.pdf"], "--output out.pdf: give a name that ends in .txt"),
        (["in.txt", "--output", "out.csv", "--json"], "--json and --output out.csv exclude each other"),
        (["in.txt", "--output", "nowhere/out.csv"], "--output nowhere/out.csv: there is no folder nowhere"),
        (["in.csv", "--output", "in.csv"], "--output in.csv: is read, too"),
        (["in.txt", "in.csv", "--output", "out.csv"], "in.csv: has other columns than in.txt"),
        (["in.txt", "--text_column", "article"], "--text_column article: no file is a table"),
        (["in.csv", "--text_column", "body"], "in.csv: has no column body; it has id, article"),
        (["summary.csv", "--output", "out.csv"], "summary.csv: has a column summary already; give --summary_column"),
        (["odd.csv"], "odd.csv: which column holds the texts? Give --text_column; it has a, b"),
        (["."], ".: is a folder"),
        (["half.txt", "--output", "half.csv"], "half.csv.part: is there from a run that was not completed"),
        (["in.txt", "--num_return_sequences", "2"], "--num_return_sequences 2: each text gets one summary"),
        (["in.txt", "--precision", "fp16"], "--precision fp16: needs a GPU"),
    ],
)
def test_what_is_refused_before_the_model_is_read(
    folder: Path, inputs: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    monkeypatch.setattr(BartForConditionalGeneration, "from_pretrained", None)
    Path("summary.csv").write_text("article,summary\na,b\n")
    Path("odd.csv").write_text("a,b\nc,d\n")
    Path("half.txt").write_text("a text\n")
    Path("half.csv.part").write_text("text,summary\n")
    before = sorted(os.listdir())
    with pytest.raises(InputError) as refusal:
        command(folder, *arguments)
    assert str(refusal.value).startswith(message) and "\n" not in str(refusal.value)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("- <&-", "-: standard input is closed; give a file with a text on each line"),
        ("{}/in.csv", "{}/in.csv: is no regular file, and a table is read more than once"),  # else it waits for ever
    ],
)
def test_what_cannot_be_read_twice_or_at_all(folder: Path, tmp_path: Path, source: str, message: str) -> None:
    os.mkfifo(tmp_path / "in.csv")
    script = ["bash", "-c", f"{sys.executable} -m utils.commands.summarize {folder} {source.format(tmp_path)}"]
    ended = subprocess.run(script, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert ended.stderr.startswith(f"error: {message.format(tmp_path)}") and ended.stderr.count("\n") == 1
    assert ended.returncode == 2


def test_rows_before_a_bad_one_are_kept(folder: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "in.csv").write_text("id,text\n1,a text\n2,b text\n3\n")
    with pytest.raises(InputError, match=r"in.csv: row 3 \(line 4\) has 1 cells"):
        command(folder, tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert len(read_delimited(tmp_path / "out.csv.part", ",")) == 3
    assert "out.csv.part: holds what was done" in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()
    with pytest.raises(InputError):
        command(folder, tmp_path / "in.csv", "--output", tmp_path / "out.parquet")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "out.csv.part", "out.parquet.part"]
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet.part")["id"].to_pylist() == ["1", "2"]
    assert "out.parquet.part: holds what was done" in capsys.readouterr().err


def test_a_late_column_of_the_summarys_name_stays(folder: Path, tmp_path: Path) -> None:
    rows = [{"text": ""}] * 1000 + [{"text": "", "summary": "the user's"}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="a row has a column summary, which the first rows lack; give --summary_col"):
        command(folder, tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl.part").read_text().splitlines()) == 1000
    command(folder, tmp_path / "in.jsonl", "--output", tmp_path / "new.jsonl", "--summary_column", "short")
    last = json.loads((tmp_path / "new.jsonl").read_text().splitlines()[-1])
    assert last == {"text": "", "summary": "the user's", "short": ""}


def write_parquet(path: Path, **columns: object) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_parquet_files_of_several_types(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The output's type holds the values of all; if there is none, nothing is summarized."""
    small = write_parquet(tmp_path / "small.parquet", id=pyarrow.array([1], pyarrow.int8()), text=["a text"])
    large = write_parquet(tmp_path / "large.parquet", text=["b text"], id=pyarrow.array([2**40]))
    named = write_parquet(tmp_path / "named.parquet", id=["c"], text=["c text"])
    command(folder, small, large, "--output", tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [1, 2**40]
    command(folder, small, named, "--output", tmp_path / "out.jsonl")
    monkeypatch.setattr(BartForConditionalGeneration, "from_pretrained", None)
    with pytest.raises(InputError, match=r"named.parquet: does not fit into one Parquet file with .*small"):
        command(folder, small, named, "--output", tmp_path / "new.parquet")
    assert not list(tmp_path.glob("new*"))


@pytest.mark.parametrize("kind", [pyarrow.timestamp("ns"), pyarrow.time64("ns"), pyarrow.duration("ns")], ids=str)
def test_times_that_python_lacks(folder: Path, tmp_path: Path, kind: pyarrow.DataType, capsys) -> None:
    """They are refused if they are to be written, and else not read."""
    texts, times = ["a text", "b text"], pyarrow.array([1000, 1001], kind)
    source = write_parquet(tmp_path / "in.parquet", text=texts, time=times)
    with pytest.raises(InputError, match=r"in.parquet: row 2 has in time a .*\[ns.*\] that is no whole number"):
        command(folder, source, "--json")
    capsys.readouterr()
    command(folder, source)
    assert capsys.readouterr().out.splitlines() == Summarizer.from_pretrained(folder, device="cpu")(texts)
    whole = write_parquet(tmp_path / "whole.parquet", text=texts, time=pyarrow.array([1000, 2000], kind))
    command(folder, whole, "--output", tmp_path / "out.parquet")
    column = pyarrow.parquet.read_table(tmp_path / "out.parquet")["time"]
    assert column.cast(pyarrow.int64()).to_pylist() == [1000, 2000] and column.type == kind


def test_parquet_keeps_the_groups_before_another_type(folder: Path, tmp_path: Path, capsys) -> None:
    rows = [{"id": number, "text": ""} for number in range(1000)] + [{"id": "a", "text": ""}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"rows 1001 to 1001 do not fit .* the 1000 before them are kept"):
        command(folder, tmp_path / "in.jsonl", "--output", tmp_path / "out.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet.part")["id"].to_pylist() == list(range(1000))
    assert "out.parquet.part: holds what was done" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_a_killed_run_leaves_what_is_done(
    folder: Path, tmp_path: Path, texts: list[str], expected: list[str], suffix: str
) -> None:
    """It waits for a pipe when it is killed."""
    output = tmp_path / f"out{suffix}"
    output.write_text("what was there before")
    process = subprocess.Popen(
        [sys.executable, "-m", "utils.commands.summarize", str(folder), "-", "--output", str(output)],
        stdin=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    part, end = tmp_path / f"out{suffix}.part", time.monotonic() + 60
    for count, text in enumerate(texts[:3], start=1):
        process.stdin.write(text + "\n")
        process.stdin.flush()
        while not (part.exists() and part.read_text().count("\n") == count) and time.monotonic() < end:
            time.sleep(0.05)
    process.kill()
    process.wait()
    lines = part.read_text().splitlines()
    assert [json.loads(line)["summary"] if suffix == ".jsonl" else line for line in lines] == expected[:3]
    assert output.read_text() == "what was there before"


def test_every_door_gives_the_same_summaries(
    setup: TinySetup, folder: Path, inputs: Path, texts: list[str], expected: list[str], tmp_path: Path, capsys
) -> None:
    """One by one, as a list, as a stream, by the script, from table to table, and by run_eval.py."""
    summarizer = Summarizer.from_pretrained(str(folder), device="cpu")
    assert [summarizer(text) for text in texts] == expected
    assert list(summarizer(iter(texts), batch_size=2)) == expected
    script = ["bash", str(ROOT / "scripts" / "summarize.sh"), str(folder), str(inputs / "in.csv"), "--bs", "3"]
    script += ["--output", str(inputs / "out.parquet"), "--device", "cpu"]
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    subprocess.run(script, check=True, env=environment, capture_output=True, timeout=100)
    assert pyarrow.parquet.read_table(inputs / "out.parquet")["summary"].to_pylist() == expected
    arguments = [str(folder), str(setup.config), str(setup.data), str(tmp_path / "eval")]
    run("run_eval.py", [*arguments, "--long_documents", "chunk", "--device", "cpu"], tmp_path / "log")
    assert (tmp_path / "eval" / "test_generations.txt").read_text().splitlines() == expected
