import re
import shutil
from pathlib import Path

import pytest

from bart.errors import InputError
from utils.commands.first_sentence import FirstSentenceArguments, evaluate_first_sentences
from utils.commands.quickstart_report import EVALUATIONS, ReportArguments, print_report
from utils.io.json_files import read_json, write_json

SUMMARIES = [f"Return the value number {number}." for number in range(12)]
SOURCES = [f"Return {('a', 'the')[row % 2]} value. {row} is in a text that goes {'on and ' * 90}" for row in range(12)]


@pytest.fixture
def quickstart(tmp_path: Path) -> ReportArguments:
    """Write data, and results in which the trained model wrote the references."""
    data, results = tmp_path / "data", tmp_path / "results"
    data.mkdir()
    (data / "test.source").write_text("".join(f"{source}\n" for source in SOURCES))
    (data / "test.target").write_text("".join(f"{summary}\n" for summary in SUMMARIES))
    for folder in (".", "shuffled_sources", "pretrained", "from_scratch", "first_sentence"):  # as quickstart.sh does
        evaluate_first_sentences(FirstSentenceArguments(data_dir=str(data), save_path=str(results / folder)))
    write_json(results / "test_rouge.json", {**read_json(results / "test_rouge.json"), "rouge1": 97.25})
    shutil.copy(data / "test.target", results / "test_generations.txt")
    validation = [{"step": step, "loss": loss} for step, loss in ((20, 7.125), (40, 6.5))]
    write_json(results / "metrics.json", {"train": [{"step": 1400}], "validation": validation})
    return ReportArguments(data_dir=str(data), results=str(results))


def test_scores_and_examples_are_printed(quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]) -> None:
    print_report(quickstart)
    output = capsys.readouterr().out
    lines = output.splitlines()
    assert max(len(line) for line in lines if quickstart.results not in line) <= 100
    assert "Validation loss per token: 7.12 (step 20), 6.50 (step 40)." in lines
    baseline = read_json(Path(quickstart.results) / "first_sentence" / "test_rouge.json")
    for name in EVALUATIONS.values():
        line = next(line for line in lines if line.startswith(name + "  "))
        scores = dict(zip(("rouge1", "rouge2", "rougeL"), re.findall(r"(\d+\.\d\d) \[", line), strict=True))
        assert scores["rouge1"] == ("97.25" if name == "fine-tuned model" else f"{baseline['rouge1']:.2f}")
        assert scores["rougeL"] == f"{baseline['rougeL']:.2f}"
        low, high = baseline["intervals_95"]["rouge2"]
        assert low < baseline["rouge2"] < high and f"[{low:4.1f}, {high:4.1f}]" in line
    references = [line.split(": ")[1] for line in lines if line.startswith("reference: ")]
    generations = [line.split(": ")[1] for line in lines if line.startswith("    model: ")]
    assert len(set(references)) == 10
    assert set(references) <= set(SUMMARIES)
    assert generations == references
    assert "1,400 optimizer steps" in output and "100% of its summaries are distinct" in " ".join(output.split())
    print_report(quickstart)
    assert capsys.readouterr().out == output


def test_an_empty_summary_has_its_line(quickstart: ReportArguments, capsys: pytest.CaptureFixture[str]) -> None:
    (Path(quickstart.results) / "test_generations.txt").write_text("\n" * len(SUMMARIES))
    print_report(quickstart)
    assert capsys.readouterr().out.splitlines().count("    model: (nothing)") == 10


def test_missing_results_are_named(quickstart: ReportArguments) -> None:
    (Path(quickstart.results) / "pretrained" / "test_rouge.json").unlink()
    with pytest.raises(InputError, match=r"pretrained/test_rouge\.json"):
        print_report(quickstart)
