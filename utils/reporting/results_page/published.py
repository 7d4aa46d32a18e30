"""Lists published scores to compare a run's with: of the reference recipe, and for other corpora of others."""

import re
from typing import NamedTuple


class Published(NamedTuple):
    """A row of the reference's tables: F-measures times 100 on a test split, and the hours of the training."""

    machine: str
    gpus: int
    batch: int  # examples in an optimizer step
    precision: str
    rouge1: float
    rouge2: float
    rouge_lsum: float
    hours: float


class OtherScores(NamedTuple):
    """Scores of bart-large on a test split that others published: F-measures times 100."""

    source: str
    rouge1: float
    rouge2: float
    rouge_l: float
    note: str  # what makes them differ from scores of this project


_A100, _V100 = "DGX A100", "DGX V100 32 GB"
CORPUS_NAMES = {"cnn_dm": "CNN-DM", "xsum": "XSum", "samsum": "SAMSum", "dialogsum": "DialogSum"}
PUBLISHED = {
    "cnn_dm": [
        Published(_A100, 1, 24, "tf32", 44.37, 21.36, 41.17, 4.88),
        Published(_A100, 1, 40, "fp16", 44.43, 21.43, 41.22, 3.61),
        Published(_A100, 8, 192, "tf32", 44.49, 21.48, 41.28, 0.73),
        Published(_A100, 8, 320, "fp16", 44.19, 21.26, 40.97, 0.56),
        Published(_V100, 1, 8, "fp32", 44.49, 21.48, 41.26, 26.17),
        Published(_V100, 1, 14, "fp16", 44.55, 21.47, 41.32, 9.74),
        Published(_V100, 8, 64, "fp32", 44.34, 21.42, 41.12, 3.58),
        Published(_V100, 8, 112, "fp16", 44.27, 21.30, 41.06, 1.45),
    ],
    "xsum": [
        Published(_A100, 1, 24, "tf32", 44.41, 21.02, 35.66, 3.10),
        Published(_A100, 1, 40, "fp16", 44.87, 21.49, 36.17, 2.43),
        Published(_A100, 8, 192, "tf32", 45.34, 21.93, 36.61, 0.58),
        Published(_A100, 8, 320, "fp16", 45.31, 21.83, 36.60, 0.45),
        Published(_V100, 1, 8, "fp32", 44.16, 20.66, 35.24, 17.23),
        Published(_V100, 1, 14, "fp16", 44.86, 21.41, 36.02, 6.12),
        Published(_V100, 8, 64, "fp32", 45.42, 21.91, 36.62, 2.56),
        Published(_V100, 8, 112, "fp16", 45.58, 22.01, 36.79, 1.09),
    ],
}
_LENGTH_STUDY = "repository of arXiv 2209.11910"
_OTHER_SCORER = "ROUGE-L is of another scorer, and higher than rouge-score's"
OTHERS = {
    "samsum": [OtherScores(_LENGTH_STUDY, 52.31, 27.57, 49.57, _OTHER_SCORER)],
    "dialogsum": [
        OtherScores("github.com/cylnlp/dialogsum, Baseline", 45.95, 21.36, 38.72, "against one of three summaries"),
        OtherScores(_LENGTH_STUDY, 47.36, 21.23, 44.88, _OTHER_SCORER),
    ],
}
_TELLING = {
    "cnn_dm": re.compile(r"cnn[-_]?(dm|daily)", re.I),
    "xsum": re.compile(r"xsum", re.I),
    "samsum": re.compile(r"samsum", re.I),
    "dialogsum": re.compile(r"dialog(ue)?[-_]?sum", re.I),
}


def corpus_of(data_dir: str) -> str | None:
    """Return the corpus that a data folder or a hub id is named after, or None if it is none of them."""
    return next((corpus for corpus, telling in _TELLING.items() if telling.search(data_dir)), None)
