import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils.cli.parser import parse_arguments
from utils.cli.shared_args import shares_of
from utils.commands.first_sentence import FirstSentenceArguments, evaluate_first_sentences, first_sentence
from utils.data.divided import read_split
from utils.data.formats.tables import AskedColumns
from utils.evaluation.paired_bootstrap import paired_comparison
from utils.evaluation.rouge import mean_scores, scorer_description
from utils.evaluation.score_files import write_example_scores
from utils.io.json_files import write_json

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


def test_they_can_be_compared_with_a_run_of_the_same_examples(tmp_path: Path) -> None:
    """Here with one that writes the references of a table, which --split divides."""
    table, shares = tmp_path / "all.jsonl", "0.5,0.2,0.3"
    rows = [{"text": f"Sentence {row}. Another.", "summary": f"Summary {row}"} for row in range(60)]
    table.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    argv = [str(table), str(tmp_path / "first"), "--split", shares, "--rouge_sentence_splitter", "newline"]
    evaluate_first_sentences(parse_arguments(FirstSentenceArguments, "", argv))
    targets = read_split(str(table), "test", AskedColumns(), shares_of(shares)).targets
    assert targets is not None and 0 < len(targets) < 60
    scores = np.ones((len(targets), 4))
    (tmp_path / "run").mkdir()
    write_example_scores(tmp_path / "run", "test", targets, scores)
    report = {**mean_scores(scores), "scorer": scorer_description("newline")}
    write_json(tmp_path / "run" / "test_rouge.json", report)
    compared = paired_comparison(tmp_path / "first", tmp_path / "run", "test")
    assert compared["n_obs"] == len(targets)
    assert compared["scores"]["rouge1"]["difference"] == pytest.approx(50)  # one of two words is the same


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
