"""Summarizes texts by the real script and pipes."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup
from utils.data.line_files import one_line
from utils.data.splits import read_pairs

ROOT = Path(__file__).parents[2]


def command(*arguments: object) -> dict[str, object]:
    script = ["bash", str(ROOT / "scripts" / "summarize.sh"), *map(str, arguments)]
    return {"args": script, "env": {**os.environ, "PYTHON": sys.executable}}


def expected(setup: TinySetup, model_folder: Path, texts: list[str]) -> list[str]:
    """Summarize the texts one by one."""
    model = BartForConditionalGeneration.from_pretrained(model_folder)
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    summaries = []
    for text in texts:
        ids = torch.tensor([tokenizer(" " + text, max_length=64, truncation=True)["input_ids"]])
        summaries.append(one_line(tokenizer.decode(model.generate(ids)[0], skip_special_tokens=True)) if text else "")
    return summaries


def test_a_file_of_lines(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    """Line i is the summary of line i, in batches too; that of an empty line is empty."""
    texts = read_pairs(setup.data, "test").sources
    texts[2] = ""
    (tmp_path / "texts").write_text("\n".join(texts), encoding="utf-8")
    run = subprocess.run(
        **command(talkative_model, tmp_path / "texts", "--bs", "3", "--long_documents", "truncate"),
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout == "".join(f"{line}\n" for line in expected(setup, talkative_model, texts))
    assert run.stderr == ""


def test_a_file_that_is_one_text(setup: TinySetup, talkative_model: Path, tmp_path: Path) -> None:
    words = read_pairs(setup.data, "test").sources[0].split()
    (tmp_path / "article").write_text("\r\n".join(words) + "\n", encoding="utf-8")
    flags = ["--one_text", "--long_documents", "truncate"]
    run = subprocess.run(
        **command(talkative_model, tmp_path / "article", *flags), capture_output=True, text=True, timeout=100
    )
    assert run.stdout.splitlines() == expected(setup, talkative_model, [" ".join(words)]), run.stderr


def test_the_first_summary_comes_before_the_last_text(setup: TinySetup, talkative_model: Path) -> None:
    texts = read_pairs(setup.data, "test").sources[:2]
    process = subprocess.Popen(
        **command(talkative_model, "--json", "--long_documents", "truncate"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    answers = []
    for text in texts:
        process.stdin.write(text + "\n")
        process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], 60)  # the pipe is still open
        assert readable
        answers.append(json.loads(process.stdout.readline()))
    process.stdin.close()
    assert process.wait(60) == 0
    summaries = expected(setup, talkative_model, texts)
    assert answers == [{"text": text, "summary": summary} for text, summary in zip(texts, summaries, strict=True)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_while_it_waits_for_a_line(talkative_model: Path, number: int, code: int) -> None:
    process = subprocess.Popen(
        **command(talkative_model), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("a text\n")
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(number)
    assert process.wait(60) == code
    assert process.stderr is not None and process.stderr.read() == f"{signal.Signals(number).name}: interrupted\n"


def test_a_reader_that_goes_away_ends_it_quietly(talkative_model: Path) -> None:
    """Though whoever writes does not."""
    process = subprocess.Popen(
        **command(talkative_model), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write("a text\n")
    process.stdin.flush()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "-"], "nowhere"),
        (["MODEL", "nowhere.txt"], "nowhere.txt: No such file"),
        (["MODEL", "-", "--max_source_length", "65"], "the model has 64 positions"),
        ([], "MODEL is missing"),
    ],
)
def test_bad_input(talkative_model: Path, arguments: list[str], said: str) -> None:
    given = [str(talkative_model) if argument == "MODEL" else argument for argument in arguments]
    run = subprocess.run(**command(*given), input="a text\n", capture_output=True, text=True, timeout=60)
    assert run.returncode == 2 and run.stdout == ""
    assert said in run.stderr and run.stderr.count("\n") == 1


def test_a_bad_line_is_named_after_the_good_ones(setup: TinySetup, talkative_model: Path) -> None:
    run = subprocess.run(**command(talkative_model), input=b"a text\nno \xff text\n", capture_output=True, timeout=60)
    assert run.returncode == 2 and run.stdout.count(b"\n") == 1
    assert b"error: standard input: line 2 is not UTF-8 at byte 4" in run.stderr
