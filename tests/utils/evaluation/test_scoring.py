"""The flags of scores, from the command line to everything that is written."""

from pathlib import Path
from typing import Any

import pytest

from bart.errors import InputError
from tests.tiny_bert import write_tiny_bert
from tests.tiny_setup import TinySetup
from utils.cli.evaluation_args import EvaluationArguments
from utils.cli.parser import parse_arguments
from utils.cli.training_args import TrainingArguments
from utils.commands.rewrite_pages import PageArguments, write_again
from utils.data.line_files import read_lines
from utils.evaluation.rouge import example_scores, mean_scores, scorer_description
from utils.evaluation.summary_stats import summary_traits
from utils.evaluation.unicode_words import unicode_words
from utils.io.json_files import read_json
from utils.recipes.evaluate import evaluate_model

SOURCES = ["Читай файл Анны в 2020 году", "中文文本 of 1,000", "read the file of Anna", "nothing here"]


@pytest.fixture(scope="module")
def data(folder: Path, setup: TinySetup, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Targets are what the model writes, behind a word in another script; those of lines 2 and 4 are all else."""
    made = tmp_path_factory.mktemp("data")
    (made / "test.source").write_text("".join(f"{source}\n" for source in SOURCES))
    evaluate(folder, setup, made, made / "out")
    written = read_lines(made / "out" / "test_generations.txt")
    targets = [f"Файл {written[0]}", "файл", f"Файл {written[2]}", "…"]
    (made / "test.target").write_text("".join(f"{target}\n" for target in targets))
    return made


def evaluate(folder: Path, setup: TinySetup, data: Path, results: Path, *flags: str) -> dict[str, Any] | None:
    arguments = [str(folder), str(setup.config), str(data), str(results), "--device", "cpu", *flags]
    evaluate_model(parse_arguments(EvaluationArguments, "", arguments))
    report = results / "test_rouge.json"
    return read_json(report) if report.is_file() else None


def test_all_that_is_written(
    folder: Path, setup: TinySetup, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bert, results = write_tiny_bert(tmp_path / "bert"), tmp_path / "results"
    flags = ["--rouge_tokenizer", "unicode", "--bertscore", str(bert), "--bertscore_layer", "1"]
    report = evaluate(folder, setup, data, results, *flags)
    written, targets = (read_lines(path) for path in (results / "test_generations.txt", data / "test.target"))
    scores = example_scores(written, targets, tokenizer="unicode")
    assert {name: report[name] for name in mean_scores(scores)} == mean_scores(scores)
    assert report["scorer"] == scorer_description(tokenizer="unicode")
    assert report["traits"] == summary_traits(SOURCES, [written], targets, unicode_words)[0].entry
    assert report["zero_scores"]["rouge1"] == int((scores[:, 0] == 0).sum()) >= 2
    assert report["empty_outputs"] == sum(not text.strip() for text in written) and report["empty_references"] == 0
    assert report["bertscore"]["layer"] == 1 and report["bertscore"]["model"] == str(bert)
    assert f"BERTScore ({bert}, layer 1): precision " in capsys.readouterr().out
    page = (results / "results.html").read_bytes()
    assert b"BERTScore times 100" in page and b"this run, scored by Unicode words" in page
    write_again(PageArguments(results=str(results)))
    assert (results / "results.html").read_bytes() == page

    # The same evaluation is known to be done; by other scores it is another.
    evaluate(folder, setup, data, results, *flags, "--resume")
    assert "is of this evaluation and complete" in capsys.readouterr().out
    other = evaluate(folder, setup, data, results, "--resume")
    assert "complete" not in capsys.readouterr().out
    assert other["scorer"] == scorer_description() and "bertscore" not in other
    assert other["rouge1"] != report["rouge1"]
    assert report["key"].keys() - other["key"].keys() == {"rouge_tokenizer", "bertscore", "bertscore_layer"}


def test_consensus_by_unicode_words(folder: Path, setup: TinySetup, data: Path, tmp_path: Path) -> None:
    flags = ["--rerank", "consensus", "--rerank_samples", "2"]
    ascii_words = evaluate(folder, setup, data, tmp_path / "ascii", *flags)
    report = evaluate(folder, setup, data, tmp_path / "unicode", *flags, "--rouge_tokenizer", "unicode")
    assert "tokenizer" not in ascii_words["rerank"] and report["rerank"]["tokenizer"] == "unicode"
    assert report["rerank"]["beam_search"]["scorer"] == report["scorer"] == scorer_description(tokenizer="unicode")
    assert read_json(tmp_path / "unicode" / "beam_search" / "test_rouge.json")["scorer"] == report["scorer"]


def test_what_is_refused(folder: Path, setup: TinySetup, data: Path, tmp_path: Path) -> None:
    for parsed in (EvaluationArguments, TrainingArguments):
        positional = ["m", "c", "d", "s"] if parsed is EvaluationArguments else []
        with pytest.raises(InputError, match="--bertscore_layer 2: has no effect without --bertscore"):
            parse_arguments(parsed, "", [*positional, "--bertscore_layer", "2"])
    for model in (tmp_path / "nowhere", folder):  # the second has a decoder
        with pytest.raises(InputError, match=f"--bertscore {model}: "):
            evaluate(folder, setup, data, tmp_path / "results", "--bertscore", str(model))
    assert not list(tmp_path.glob("results/*journal*"))
