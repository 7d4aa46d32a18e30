import os
from pathlib import Path

import pytest

from utils.evaluation.rouge import ROUGE_TYPES
from utils.io.json_files import write_json
from utils.reporting.results_page.content import collect
from utils.reporting.results_page.published import PUBLISHED, corpus_of


def report(value: float) -> dict[str, object]:
    return {**dict.fromkeys(ROUGE_TYPES, value), "n_obs": 7}


@pytest.mark.parametrize(
    ("data_dir", "corpus"),
    [
        ("data/cnn_dm/", "cnn_dm"),
        ("abisee/cnn_dailymail@3.0.0", "cnn_dm"),
        ("EdinburghNLP/xsum", "xsum"),
        ("/d/XSum", "xsum"),
        ("data/samsum", "samsum"),
        ("knkarthick/dialogsum", "dialogsum"),
        ("DialogueSum.json", "dialogsum"),
        ("data/docstrings", None),
        ("", None),
    ],
)
def test_the_corpus_by_its_name(data_dir: str, corpus: str | None) -> None:
    assert corpus_of(data_dir) == corpus


def test_the_run_comes_first_then_what_it_is_compared_with(tmp_path: Path) -> None:
    """Files of other programs in folders below are passed over."""
    write_json(tmp_path / "test_rouge.json", report(30.0))
    for value, folder in enumerate(["first_sentence", "another", "pretrained", "broken", "foreign"]):
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / "test_rouge.json", report(float(value)))
    (tmp_path / "broken" / "test_rouge.json").write_text("{")
    write_json(tmp_path / "foreign" / "test_rouge.json", {"f1": 3})
    rows = collect(tmp_path, None).rows
    assert {row.split for row in rows} == {"test"}
    assert [(row.name, row.scores["rouge2"], row.is_own) for row in rows] == [
        ("this run", 30.0, True),
        ("the pretrained model as it came", 2.0, False),
        ("first sentence of the text", 0.0, False),
        ("another", 1.0, False),
    ]


def test_published_scores_of_the_same_corpus_alone(tmp_path: Path) -> None:
    ((name, rows),) = collect(tmp_path, {**report(1.0), "data_dir": "data/xsum"}).published
    assert name == "XSum" and len(rows) == 8
    assert (rows[3].gpus, rows[3].batch, rows[3].rouge1, rows[3].rouge_lsum) == (8, 320, 45.31, 36.6)
    assert [name for name, _ in collect(tmp_path, report(1.0)).published] == ["CNN-DM", "XSum"]
    assert all(len(rows) == 8 for rows in PUBLISHED.values())


def test_published_scores_of_dialogues(tmp_path: Path) -> None:
    content = collect(tmp_path, {**report(1.0), "data_dir": "data/samsum"})
    assert content.published == [] and [row[1:4] for row in content.others] == [(52.31, 27.57, 49.57)]
    assert collect(tmp_path, {**report(1.0), "data_dir": "data/xsum"}).others == []


def test_commands_can_be_typed_in(tmp_path: Path) -> None:
    command = ["/somewhere/finetune.py", "--data_dir", "a folder"]
    write_json(tmp_path / "run.json", {"command": command, "arguments": {"data_dir": "a folder"}})
    evaluation = {**report(1.0), "command": ["run_eval.py", "model"]}
    assert collect(tmp_path, evaluation).commands == [
        ("Training", "python finetune.py --data_dir 'a folder'"),
        ("Evaluation", "python run_eval.py model"),
    ]


@pytest.mark.parametrize(
    ("program", "typed"),
    [
        ("/somewhere/bin/bart-finetune", "bart-finetune --seed 1"),
        ("/somewhere/utils/commands/fine_tune.py", "python -m utils.commands.fine_tune --seed 1"),
        ("/lib/bart_summarization/commands/evaluate.py", "python -m bart_summarization.commands.evaluate --seed 1"),
    ],
)
def test_commands_of_installed_programs(program: str, typed: str, tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"command": [program, "--seed", "1"], "arguments": {}})
    assert collect(tmp_path, None).commands == [("Training", typed)]


def test_validation_that_is_teacher_forced_says_so(tmp_path: Path) -> None:
    record = {"step": 4, "epoch": 0.5, "loss": 2.0, **dict.fromkeys(ROUGE_TYPES, 30.0)}
    write_json(tmp_path / "metrics.json", {"train": [], "validation": [record], "speed": []})
    for beams, note in ((0, "Teacher-forced"), (2, "Of generated")):
        write_json(tmp_path / "run.json", {"command": ["finetune.py"], "arguments": {"eval_beams": beams}})
        charts = {chart.title: chart for chart in collect(tmp_path, None).charts}
        assert charts.keys() == {"Loss", "ROUGE of validation"}
        assert charts["ROUGE of validation"].note.startswith(note)


def test_a_model_within_the_folder_is_named_by_its_path_there(tmp_path: Path) -> None:
    for model, name in (
        (str(tmp_path / "best_tfmr"), "best_tfmr"),
        (os.path.relpath(tmp_path / "best_tfmr"), "best_tfmr"),
        (str(tmp_path.parent / "other"), str(tmp_path.parent / "other")),
        (str(tmp_path), str(tmp_path)),
        ("facebook/bart-large-cnn", "facebook/bart-large-cnn"),
        (None, None),
    ):
        assert collect(tmp_path, {**report(1.0), "model": model}).model == name
