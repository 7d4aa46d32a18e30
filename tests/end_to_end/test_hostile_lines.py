"""Lines that other programs would break, drop or choke on: a corpus per kind of fault, through the real command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.commands import ROOT, refusal, run
from tests.tiny_setup import EXAMPLES, TinySetup
from utils.data.line_files import one_line
from utils.io.json_files import read_json

ROW = 2  # of each split, from 0: the hostile one, or the first of them


def inside(character: str) -> str:
    """The character at the start, in the middle and near the end of a row: a \\r at the very end is dropped."""
    return f"{character}one{character}two{character}."


# The rows that take the place of others from ROW on. Each split has enough of them for the longest list.
IN_LINES = {
    "ends of lines for other programs": [inside(character) for character in "\u2028\u2029\x85\v\f"],
    "separators and returns": [inside(character) for character in "\x1c\r"],
    "empty": [""],
    "white space": [" \u2028\u3000"],
}
# Of sources alone: ROUGE takes long over such references. With spaces and without one.
LONG = {"a million characters": ["an argument " * 90_000, "x" * 1_000_000]}
WHOLE_FILE = {
    "CRLF and no newline at the end": lambda content: content.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
    "byte order mark": lambda content: b"\xef\xbb\xbf" + content,
}


def hostile_copy(setup: TinySetup, folder: Path, fault: str) -> dict[str, list[str]]:
    """Write the corpus with the fault in the files of each split; returns the rows that should be read."""
    rows = {}
    folder.mkdir()
    for path in setup.data.glob("*.*[et]"):
        clean = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        hostile = {**IN_LINES, **(LONG if path.suffix == ".source" else {})}.get(fault, [])
        rows[path.name] = [*clean[:ROW], *hostile, *clean[ROW + len(hostile) :]]
        assert len(rows[path.name]) == len(clean)
        content = "".join(f"{row}\n" for row in rows[path.name]).encode()
        (folder / path.name).write_bytes(WHOLE_FILE.get(fault, bytes)(content))
    return rows


@pytest.mark.parametrize("fault", [*IN_LINES, *LONG, *WHOLE_FILE])
def test_no_row_shifts(setup: TinySetup, tmp_path: Path, fault: str) -> None:
    """Training ends well, and line i of the output is what the trained model says to row i alone."""
    rows = hostile_copy(setup, tmp_path / "data", fault)
    results = tmp_path / "results"
    flags = ["--data_dir", str(tmp_path / "data"), "--output_dir", str(results), "--n_test", "-1"]
    short = ["--max_steps", "2", "--warmup_steps", "1", "--n_train", "15", "--eval_max_gen_length", "8"]
    output = run("finetune.py", [*setup.training_flags, *flags, *short], tmp_path / "log")

    left_out = int(fault in ("empty", "white space"))
    assert ("left out, as their source or target is empty: 1 train and 1 val pairs" in output) == bool(left_out)
    examples = {"train": 15, "val": EXAMPLES["val"] - left_out, "test": EXAMPLES["test"]}
    assert read_json(results / "run.json")["examples"] == examples
    model = BartForConditionalGeneration.from_pretrained(results / "best_tfmr").eval()
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    expected = []
    for row in rows["test.source"]:
        ids = torch.tensor([tokenizer(" " + row, max_length=64, truncation=True)["input_ids"]])
        expected.append(one_line(tokenizer.decode(model.generate(ids, max_length=8)[0], skip_special_tokens=True)))
    content = (results / "test_generations.txt").read_text(encoding="utf-8")
    assert content == "".join(f"{line}\n" for line in expected)
    assert len(content.splitlines()) == EXAMPLES["test"]


def test_a_million_characters_take_little_memory(setup: TinySetup, tmp_path: Path) -> None:
    """Of the process with all it does, as the system counts it: at most 400 bytes a character more."""
    hostile_copy(setup, tmp_path / "long", "a million characters")
    clean = peak_memory(setup, setup.data, tmp_path / "results")
    assert peak_memory(setup, tmp_path / "long", tmp_path / "results") < clean + 400 * 1_000_000


def peak_memory(setup: TinySetup, data: Path, results: Path) -> int:
    """Bytes that a training and its evaluation, in a process of its own, have at most in memory."""
    flags = ["--data_dir", str(data), "--output_dir", str(results), "--overwrite_output_dir", "--n_test", "-1"]
    short = ["--max_steps", "2", "--warmup_steps", "1", "--n_train", "15", "--eval_max_gen_length", "8"]
    command = [sys.executable, str(ROOT / "finetune.py"), *setup.training_flags, *flags, *short]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.parametrize(
    ("row", "place"), [(b"a\xffb", "line 3 is not UTF-8 at byte 2 (0xff)"), (b"a\0b", "line 3, byte 2 is NUL")]
)
@pytest.mark.parametrize("name", ["train.target", "test.source"])
def test_what_is_no_text_is_refused(setup: TinySetup, tmp_path: Path, row: bytes, place: str, name: str) -> None:
    """By its place, before anything is written."""
    shutil.copytree(setup.data, tmp_path / "data")
    path = tmp_path / "data" / name
    lines = path.read_bytes().split(b"\n")
    lines[ROW] = row
    path.write_bytes(b"\n".join(lines))
    flags = ["--data_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "results"), "--n_test", "-1"]
    line = refusal("finetune.py", [*setup.training_flags, *flags], tmp_path / "log")
    assert f"{path}: {place}" in line and not (tmp_path / "results").exists()
