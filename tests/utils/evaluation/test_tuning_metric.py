"""The metric of a tuning, by hand."""

import numpy as np
import pytest

from utils.evaluation.tuning_metric import metric_of, metric_value


def test_the_metric_is_a_column_or_the_geometric_mean_of_three() -> None:
    means = np.array([[8.0, 27.0, 1.0, 5.0], [2.0, 4.0, 8.0, 0.0]])
    assert metric_of("mean")(means) == pytest.approx([6.0, 4.0])
    assert metric_of("rouge2")(means).tolist() == [27.0, 4.0]
    assert metric_of("rougeLsum")(means[0]) == 5.0


def test_the_metric_of_examples_is_that_of_their_means() -> None:
    scores = np.array([[0.05, 0.4, 0.01, 0.2], [0.11, 0.14, 0.01, 0.0]])
    assert metric_value("mean", scores) == pytest.approx(6.0)
    assert metric_value("rougeLsum", scores) == pytest.approx(10.0)
