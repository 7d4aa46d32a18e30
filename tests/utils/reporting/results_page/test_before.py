"""Pages of runs with an evaluation of the pretrained model: what is in them, without a browser."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from utils.evaluation.examples import ScoredExamples
from utils.evaluation.names_and_numbers import Mention, find_mentions
from utils.evaluation.paired_bootstrap import paired_comparison
from utils.evaluation.rouge import ROUGE_TYPES, example_scores, mean_scores, scorer_description
from utils.evaluation.score_files import write_example_scores
from utils.io.json_files import write_json
from utils.reporting.results_page import examples as packing
from utils.reporting.results_page.page import write_page

SOURCES = [f"Number {row} is read from the file. It is then returned." for row in range(20)]
REFERENCES = [f"Return number {row}." for row in range(20)]
BEFORE = [f"Paris is read {row}" if row % 2 else "" for row in range(20)]
AFTER = [f"Return number {row} of Rome." for row in range(20)]


def write_evaluation(folder: Path, generations: list[str], references: list[str] = REFERENCES) -> dict[str, Any]:
    """Write the files of an evaluation; returns its report."""
    folder.mkdir(exist_ok=True)
    scores = example_scores(generations, references)
    report = {**mean_scores(scores), "scorer": scorer_description(), "split": "test", "n_obs": len(references)}
    (folder / "test_generations.txt").write_text("".join(f"{generation}\n" for generation in generations))
    write_example_scores(folder, "test", references, scores)
    write_json(folder / "test_rouge.json", report)
    return report


def written_page(folder: Path, **known: Any) -> tuple[str, dict[str, Any]]:
    """Write the page of a run and return its markup, and the summaries that are packed in it."""
    report = write_evaluation(folder, AFTER)
    write_page(folder, report, ScoredExamples(SOURCES, REFERENCES, AFTER, example_scores(AFTER, REFERENCES), **known))
    page = (folder / "results.html").read_text()
    (packed,) = re.findall(r'id="packed-summaries">([^<]*)<', page)
    return page, json.loads(gzip.decompress(base64.b64decode(packed)))


def test_each_example_has_its_summary_before_fine_tuning_and_the_page_the_paired_interval(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "pretrained", BEFORE)
    page, summaries = written_page(tmp_path)
    assert summaries["before"] == BEFORE and summaries["generations"] == AFTER
    expected = example_scores(BEFORE, REFERENCES)
    for column, name in enumerate(ROUGE_TYPES):
        assert summaries["scores_before"][name] == pytest.approx(100 * expected[:, column], abs=0.01)
    assert summaries["words"]["before"][:2] == [0, 4]
    assert summaries["absent"]["before"][:2] == [[], []]  # a name at the beginning may be a common word
    assert summaries["absent"]["generations"][0] == [19, 23]
    text = " ".join(re.sub("<[^>]+>", " ", page.partition("<script")[0]).split())
    compared = paired_comparison(tmp_path / "pretrained", tmp_path, "test")["scores"]
    for name, row in compared.items():
        change = "{:+.2f} [{:+.2f}, {:+.2f}]".format(row["difference"], *row["interval_95"])
        title = name.replace("rouge", "ROUGE-")
        assert f"{title} {row['first']:.2f} {row['second']:.2f} {change} {row['p']:.4f}" in text
        assert name != "rouge1" or f"20 examples, ROUGE-1 changes by {change}, p 0.0002." in text


def test_names_that_the_evaluation_has_found_are_not_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_evaluation(tmp_path / "pretrained", BEFORE)
    expected, searched = written_page(tmp_path), []

    def noted(sources: list[str], systems: list[list[str]]) -> list[list[list[Mention]]]:
        searched.extend(systems)
        return find_mentions(sources, systems)

    monkeypatch.setattr(packing, "find_mentions", noted)
    assert written_page(tmp_path, mentions=find_mentions(SOURCES, [AFTER])[0]) == expected
    assert searched == [BEFORE]


def test_without_such_a_folder_nothing_is_said_of_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    page, summaries = written_page(tmp_path)
    assert not {"before", "scores_before"} & summaries.keys() and list(summaries["absent"]) == ["generations"]
    assert "fine-tuning</h3>" not in page and caplog.text == ""


@pytest.mark.parametrize("problem", ["other examples", "fewer summaries", "another program's report"])
def test_what_cannot_be_compared_is_left_out_with_a_warning(
    tmp_path: Path, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = tmp_path / "pretrained"
    if problem == "other examples":
        write_evaluation(before, BEFORE, REFERENCES[::-1])
    else:
        report = write_evaluation(before, BEFORE)
        if problem == "fewer summaries":
            (before / "test_generations.txt").write_text("one\n")
        else:
            write_json(before / "test_rouge.json", {"rouge1": report["rouge1"]})
    page, summaries = written_page(tmp_path)
    assert "before" not in summaries and "fine-tuning</h3>" not in page
    assert caplog.text.count("the page shows no summaries before fine-tuning: ") == 1 and str(before) in caplog.text
