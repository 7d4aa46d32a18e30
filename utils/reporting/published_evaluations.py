"""Lists evaluations of the published models by others, on the whole test sets, each with its source.

Scores are F-measures times 100. They differ by 0.2 and more for the same weights, because scorer (ROUGE-1.5.5 or
rouge-score), text (tokenized or not) and search differ. ROUGE-L of CNN-DM is the one by sentences (rougeLsum);
summaries of XSum are single sentences, for which both are the same.

Evaluations are left out if something else was known to be measured:

- CNN-DM 43.09 / 20.20 / 39.68 (fairseq issue 1401): the articles were prepared in another way, as was found there.
- CNN-DM 42.31 / 20.21 / 39.31 (SemSim issue 8): the scores are lower for a reason that was not found.
- CNN-DM 43.24 / 20.11 / 40.49 (fairseq issue 4117): a third scorer was used, the Python package rouge.
- CNN-DM 42.95 / 20.81 / 40.04 (the card of facebook/bart-large-cnn on the hub): the card says they are of the training
  split.
- XSum 44.70 / 21.04 / 35.64 (transformers issue 3811, April 2020): transformers began each summary with <s> then, which
  the XSum model does not. Without it there were 0.3 / 0.6 / 0.9 more on the validation split (pull request 6526).
- XSum 43.81 / 20.33 / 34.65 and 44.19 / 20.83 / 35.16 (fairseq issues 1971 and 4581): the articles probably had another
  text, as an author of BART says in the first.
"""

from typing import NamedTuple


class Evaluation(NamedTuple):
    """One evaluation of a published model. Metrics that it lacks or computes in another way are left out."""

    source: str
    rouge: dict[str, float]


_PAPER = "BART's paper (arXiv 1910.13461), table 3"
_DISTILBART = "model card of sshleifer/distilbart-xsum-12-6"
EVALUATIONS = {
    "cnn": [
        Evaluation(_PAPER, {"rouge1": 44.16, "rouge2": 21.28, "rougeLsum": 40.90}),
        Evaluation("transformers issue 3811, April 2020", {"rouge1": 44.32, "rouge2": 21.12, "rougeLsum": 41.13}),
        Evaluation("transformers issue 6808, August 2020 (rouge-score)", {"rouge1": 44.05, "rouge2": 21.07}),
        Evaluation("transformers issue 6808, September 2020 (pyrouge)", {"rouge1": 44.32, "rouge2": 21.15}),
        Evaluation("SemSim's baseline, by SemSim issue 8", {"rouge1": 43.98, "rouge2": 21.07, "rougeLsum": 40.82}),
        Evaluation(_DISTILBART, {"rouge2": 21.06}),
        Evaluation(
            "fairseq issue 4117, January 2022 (ROUGE-1.5.5)", {"rouge1": 44.25, "rouge2": 21.23, "rougeLsum": 41.07}
        ),
    ],
    "xsum": [
        Evaluation(_PAPER, {"rouge1": 45.14, "rouge2": 22.27, "rougeL": 37.25}),
        Evaluation("transformers issue 3811, October 2020", {"rouge1": 45.37, "rouge2": 22.30, "rougeL": 37.19}),
        Evaluation("transformers issue 7907, October 2020 (rouge-score)", {"rouge1": 45.36, "rougeL": 37.17}),
        Evaluation(_DISTILBART, {"rouge2": 21.85, "rougeL": 36.50}),
    ],
}


def spans(evaluations: list[Evaluation]) -> dict[str, tuple[float, float]]:
    """Return the lowest and the highest value of each metric, in the order in which the metrics first occur."""
    metrics = {metric: None for evaluation in evaluations for metric in evaluation.rouge}
    found = {metric: [found.rouge[metric] for found in evaluations if metric in found.rouge] for metric in metrics}
    return {metric: (min(values), max(values)) for metric, values in found.items()}
