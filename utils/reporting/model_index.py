"""Writes the scores of a model for the header of its card, in the form in which the Hugging Face hub reads them.

The form is "model-index" (https://huggingface.co/docs/hub/model-cards#evaluation-results).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from ..data.sources import match_hub_id
from ..evaluation.bertscore import BERTSCORE_NAMES
from ..evaluation.reranked_report import method_text
from ..evaluation.rouge import ROUGE_TYPES

_DIGITS = 4  # of scores times 100


def model_index(name: str, data_dir: str, report: Mapping[str, Any]) -> str:
    """Return the lines of a card's header that hold the scores.

    Args:
        name: of the model.
        data_dir: the data that were evaluated, a folder or a data set of the hub.
        report: of the evaluation.
    """
    how = dict(report["scorer"])
    if "rerank" in report:
        how["search"] = method_text(report["rerank"])
    scores = [("rouge", kind.replace("rouge", "ROUGE-"), report[kind], how) for kind in ROUGE_TYPES]
    if "bertscore" in report:
        entry = report["bertscore"]
        model = {key: entry[key] for key in ("model", "revision", "layer", "scorer") if entry[key] is not None}
        scores += [("bertscore", f"BERTScore {kind}", entry[kind], model) for kind in BERTSCORE_NAMES]
    results = [
        EvalResult(
            task_type="summarization",
            task_name="Summarization",
            **_dataset(data_dir),
            dataset_split=report["split"],
            dataset_args={"examples": report["n_obs"]},
            metric_type=metric,
            metric_name=title,
            metric_value=round(value, _DIGITS),
            metric_args=given,
        )
        for metric, title, value, given in scores
    ]
    return str(ModelCardData(model_name=name, eval_results=results).to_yaml())


def _dataset(data_dir: str) -> dict[str, Any]:
    """Return what is known of the data: those of a data set of the hub, or the name of a folder."""
    match = match_hub_id(data_dir)
    if match is None:
        folder = Path(data_dir).absolute().name
        return {"dataset_type": folder, "dataset_name": folder}
    name, revision, config = match["name"], match["revision"], match["config"]
    return {"dataset_type": name, "dataset_name": name, "dataset_revision": revision, "dataset_config": config}
