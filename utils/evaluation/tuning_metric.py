"""The number that a tuning raises, made of the ROUGE scores."""

from collections.abc import Callable

import numpy as np

from .rouge import ROUGE_TYPES, mean_scores

_OF_MEAN = ("rouge1", "rouge2", "rougeL")


def metric_of(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that turns means (..., 4), in the order of ROUGE_TYPES, into the metric (...).

    ``mean`` is the geometric mean of rouge1, rouge2 and rougeL, as of SCROLLS (Shaham et al. 2022,
    https://arxiv.org/abs/2201.03533): a gain of 1% counts the same in each of the three.
    """
    if name == "mean":
        columns = list(map(ROUGE_TYPES.index, _OF_MEAN))
        return lambda means: np.cbrt(np.prod(means[..., columns], axis=-1))
    column = ROUGE_TYPES.index(name)
    return lambda means: means[..., column]


def metric_value(name: str, scores: np.ndarray) -> float:
    """Return the metric of the F-measures (N, 4) of N examples, times 100; their order does not matter."""
    return float(metric_of(name)(np.array(list(mean_scores(scores).values()))))
