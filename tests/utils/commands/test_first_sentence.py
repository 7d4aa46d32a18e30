import json
import subprocess
import sys
from pathlib import Path

import pytest

from utils.cli.parser import parse_arguments
from utils.commands.first_sentence import FirstSentenceArguments, evaluate_first_sentences, first_sentence

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One sentence. Another one.", "One sentence."),
        ("Dr. Gray waits! He is late.", "Dr. Gray waits!"),
        ("no period at all", "no period at all"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_first_sentence(text: str, expected: str) -> None:
    assert first_sentence(text) == expected


def test_first_sentences_are_written_and_scored_line_by_line(tmp_path: Path) -> None:
    (tmp_path / "test.source").write_text("Read the file. Then close it.\n\nNothing here. Or there.\n")
    (tmp_path / "test.target").write_text("Read the file.\nSay something.\nWrong words.\n")
    evaluate_first_sentences(FirstSentenceArguments(data_dir=str(tmp_path), save_path=str(tmp_path / "scores")))
    written = (tmp_path / "scores" / "test_generations.txt").read_text()
    assert written == "Read the file.\n\nNothing here.\n"
    report = json.loads((tmp_path / "scores" / "test_rouge.json").read_bytes())
    assert report["n_obs"] == 3
    assert report["rouge1"] == pytest.approx(100 / 3)
    assert report["scorer"]["splitter"] == "period" and "tokenizer" not in report["scorer"]


def test_texts_of_any_script(tmp_path: Path) -> None:
    (tmp_path / "test.source").write_text("Читай файл. Потом закрой.\n")
    (tmp_path / "test.target").write_text("Читай файл.\n")
    unicode = ["--rouge_tokenizer", "unicode"]
    for flags, score in (([], 0), (unicode, 100)):
        argv = [str(tmp_path), str(tmp_path / "scores"), *flags]
        evaluate_first_sentences(parse_arguments(FirstSentenceArguments, "", argv))
        assert json.loads((tmp_path / "scores" / "test_rouge.json").read_bytes())["rouge1"] == score


def test_the_command_refuses_a_missing_split_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "utils.commands.first_sentence", str(tmp_path), str(tmp_path / "scores")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {tmp_path / 'test.source'}")
    assert process.stderr.count("\n") == 1
