"""The scores in the header of a card, read again by huggingface_hub's own class."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from utils.evaluation.rouge import ROUGE_TYPES, scorer_description
from utils.reporting.model_index import model_index

REPORT = {
    **{name: 30.123456 + index for index, name in enumerate(ROUGE_TYPES)},
    **{"split": "test", "n_obs": 7, "scorer": scorer_description(tokenizer="unicode")},
}
BERTSCORE = {
    **{"precision": 90.0, "recall": 80.0, "f1": 84.7, "model": "owner/bert", "revision": None, "layer": 9},
    **{"texts_cut": 0, "scorer": "torchmetrics 1.9.0"},
}


def read_again(data_dir: str, report: dict[str, Any]) -> list[Any]:
    text = model_index("my: model", data_dir, report)
    assert text.startswith("model-index:\n- name: 'my: model'\n")
    data = ModelCard(f"---\nlibrary_name: transformers\n{text}\n---\n# Card").data
    assert data.model_name == "my: model"
    return list(data.eval_results)


def test_each_score_is_recorded_with_how_it_was_computed() -> None:
    results = read_again("data/news", {**REPORT, "bertscore": BERTSCORE})
    rouge, bert = results[:4], results[4:]
    assert [each.metric_name for each in rouge] == ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"]
    assert [each.metric_value for each in rouge] == [30.1235, 31.1235, 32.1235, 33.1235]
    assert all(each.metric_args == REPORT["scorer"] and each.metric_type == "rouge" for each in rouge)
    assert [(each.metric_name, each.metric_value) for each in bert] == [
        ("BERTScore precision", 90.0),
        ("BERTScore recall", 80.0),
        ("BERTScore f1", 84.7),
    ]
    assert all(each.metric_args["model"] == "owner/bert" and each.metric_type == "bertscore" for each in bert)
    for each in results:
        assert (each.task_type, each.dataset_split, each.dataset_args) == ("summarization", "test", {"examples": 7})


@pytest.mark.parametrize(
    ("data_dir", "found"),
    [
        ("owner/name", ("owner/name", "owner/name", None, None)),
        ("abisee/cnn_dailymail@v1:3.0.0", ("abisee/cnn_dailymail", "abisee/cnn_dailymail", "v1", "3.0.0")),
        ("data/missing", ("missing", "missing", None, None)),
        ("/a folder/news/", ("news", "news", None, None)),
        ("../news", ("news", "news", None, None)),
    ],
)
def test_the_data(
    data_dir: str, found: tuple[str | None, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder has its name alone, and not where it lies; a folder that is gone is one if the folder above is here."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    for each in read_again(data_dir, REPORT):
        assert (each.dataset_type, each.dataset_name, each.dataset_revision, each.dataset_config) == found
