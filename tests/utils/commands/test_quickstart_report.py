import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from bart.errors import InputError
from tests.commands import ROOT
from utils.cli.parser import parse_arguments
from utils.cli.shared_args import TableSettings
from utils.cli.training_args import TrainingArguments
from utils.commands.first_sentence import FirstSentenceArguments, evaluate_first_sentences
from utils.commands.quickstart_report import CONTROLS, EVALUATIONS, ReportArguments, print_report
from utils.evaluation.rouge import bootstrap_intervals, example_scores, mean_scores
from utils.evaluation.score_files import write_example_scores
from utils.io.json_files import read_json, write_json

SUMMARIES = [f"Return the value number {number}." for number in range(12)]
SOURCES = [f"Return {('a', 'the')[row % 2]} value. {row} is in a text that goes {'on and ' * 90}" for row in range(12)]


@pytest.fixture
def quickstart(tmp_path: Path) -> ReportArguments:
    """Write data, and results in which the fine-tuned model wrote the references, all others first sentences."""
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    (data / "test.source").write_text("".join(f"{source}\n" for source in SOURCES))
    (data / "test.target").write_text("".join(f"{summary}\n" for summary in SUMMARIES))
    for folder in (".", "shuffled_sources", "pretrained", "from_scratch", "first_sentence"):  # as quickstart.sh does
        evaluate_first_sentences(FirstSentenceArguments(data_dir=str(data), save_path=str(results / folder)))
    perfect = example_scores(SUMMARIES, SUMMARIES)
    own = {**mean_scores(perfect), "intervals_95": bootstrap_intervals(perfect)}
    write_json(results / "test_rouge.json", {**read_json(results / "test_rouge.json"), **own})
    write_example_scores(results, "test", SUMMARIES, perfect)
    shutil.copy(data / "test.target", results / "test_generations.txt")
    write_json(results / "metrics.json", {"train": [{"step": 1400}], "validation": []})
    return ReportArguments(data_dir=str(data), results=str(results), controls=True)


def report_of(arguments: ReportArguments, capsys: pytest.CaptureFixture[str]) -> str:
    print_report(arguments)
    return capsys.readouterr().out


def commands_of(output: str) -> list[str]:
    return re.findall(r"^    (.*\bbash .*)$", output, flags=re.MULTILINE)


def test_three_texts_have_their_summaries_before_and_after(
    quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]
) -> None:
    output = report_of(quickstart, capsys)
    lines = output.splitlines()
    assert max(len(line) for line in lines if quickstart.results not in line) <= 100
    texts = {
        name: [line.split(": ", 1)[1] for line in lines if line.startswith(f"{name:>9}: ")]
        for name in ("text", "reference", "before", "after")
    }
    assert len(set(texts["reference"])) == 3 and set(texts["reference"]) <= set(SUMMARIES)
    assert texts["after"] == texts["reference"]
    rows = [SUMMARIES.index(reference) for reference in texts["reference"]]
    assert texts["before"] == [SOURCES[row].partition(". ")[0] + "." for row in rows]
    assert all(text.startswith(SOURCES[row][:60]) for row, text in zip(rows, texts["text"], strict=True))
    assert report_of(quickstart, capsys) == output  # the same texts each time


def test_the_scores_of_all_evaluations_and_the_paired_difference(
    quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = report_of(quickstart, capsys).splitlines()
    baseline = read_json(Path(quickstart.results) / "first_sentence" / "test_rouge.json")
    for name in (EVALUATIONS | CONTROLS).values():
        line = next(line for line in lines if line.startswith(name + "  "))
        scores = dict(zip(("rouge1", "rouge2", "rougeL"), re.findall(r"(\d+\.\d\d) \[", line), strict=True))
        for rouge, score in scores.items():
            assert score == ("100.00" if name == "after fine-tuning" else f"{baseline[rouge]:.2f}")
        low, high = (100, 100) if name == "after fine-tuning" else baseline["intervals_95"]["rouge2"]
        assert f"[{low:4.1f}, {high:4.1f}]" in line
    difference = next(line.split() for line in lines if line.startswith("rouge1 "))
    assert difference[1:4] == [f"{baseline['rouge1']:.2f}", "100.00", f"+{100 - baseline['rouge1']:.2f}"]
    assert difference[-1] == "0.0002"


def test_what_may_be_concluded_with_and_without_controls(
    quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]
) -> None:
    less = f"{100 - read_json(Path(quickstart.results) / 'pretrained' / 'test_rouge.json')['rouge1']:.2f}"
    with_controls = " ".join(report_of(quickstart, capsys).split())
    assert f"1,400 steps of fine-tuning have changed ROUGE-1 by +{less}, which is beyond chance at 5%." in with_controls
    assert f"hard to beat, scores {less} less than the fine-tuned model." in with_controls
    assert f"given another text, the fine-tuned model scores {less} less." in with_controls
    assert f"from random weights for as many steps scores {less} less." in with_controls
    assert "100% of the fine-tuned model's summaries are distinct." in with_controls
    assert "--controls" not in with_controls
    for folder in ("shuffled_sources", "from_scratch"):
        shutil.rmtree(Path(quickstart.results) / folder)
    without = " ".join(report_of(replace(quickstart, controls=False), capsys).split())
    assert "is measured with --controls." in without
    assert "random weights" not in without and "another text" not in without


def test_a_model_that_has_learnt_nothing(quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]) -> None:
    results = Path(quickstart.results)
    for path in (results / "pretrained").iterdir():
        shutil.copy(path, results)
    (results / "test_generations.txt").write_text("\n" * len(SUMMARIES))
    output = report_of(quickstart, capsys)
    assert "ROUGE-1 by +0.00, which is within chance at 5%" in output
    assert output.splitlines().count("    after: (nothing)") == 3
    assert "0.00 less than the fine-tuned model" in output


def test_the_way_on_for_who_has_no_data_yet(quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]) -> None:
    summarize, own = commands_of(report_of(quickstart, capsys))
    assert summarize == f"echo 'Your text.' | bash {ROOT}/scripts/summarize.sh {quickstart.results}/best_tfmr"
    assert own == f"DATA_DIR=my_data bash {ROOT}/scripts/quickstart.sh"
    assert (Path(quickstart.results) / "results.html").is_file()


def test_the_way_on_with_own_data_is_a_training_that_can_be_started(
    quickstart: ReportArguments, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its command is read by run_summarization.sh and by finetune.py's parser."""
    data = tmp_path / "my data"
    data.mkdir()
    rows = ["the body,summary", *(f"{source},{summary}" for source, summary in zip(SOURCES, SUMMARIES, strict=True))]
    (data / "test.csv").write_text("\n".join(rows))
    tables = TableSettings(text_column="the body", summary_column="summary")
    own = replace(quickstart, data_dir=str(data), own_data=True, tables=tables)
    _, command = commands_of(report_of(own, capsys))
    recorder = tmp_path / "recorder"
    recorder.write_text(f'#!/bin/bash\nprintf "%s\\n" "$@" >>{shlex.quote(str(tmp_path / "call"))}\nexit 3\n')
    recorder.chmod(0o755)
    process = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHON": str(recorder)}, text=True
    )
    assert process.returncode == 3
    program, *argv = (tmp_path / "call").read_text().splitlines()
    assert program == str(ROOT / "finetune.py")
    training = parse_arguments(TrainingArguments, "", argv)
    assert training.data.data_dir == str(data) and Path(training.model.config_path).is_file()
    assert (training.data.text_column, training.data.summary_column) == ("the body", "summary")


def test_missing_results_are_named(quickstart: ReportArguments) -> None:
    (Path(quickstart.results) / "pretrained" / "test_rouge.json").unlink()
    with pytest.raises(InputError, match=r"pretrained/test_rouge\.json"):
        print_report(quickstart)
