"""Training steps with R-Drop."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning.plugins.precision import DoublePrecision, Precision

from bart.errors import InputError
from tests.tiny_training import CONFIG, SaveAt, batch_order, fit, start_module
from utils.recipes.fine_tune import check_dropout
from utils.training.callbacks.metrics_history import TrainingHistory
from utils.training.callbacks.rng_state import RngState
from utils.training.module import SummarizationModule

STEPS = 6
SETTINGS = {"learning_rate": 1e-3, "warmup_steps": 1, "label_smoothing": 0.1}


def with_dropout(module: SummarizationModule) -> SummarizationModule:
    for side in (module.model.model.encoder, module.model.model.decoder):
        side.dropout.p = 0.2
    return module


@pytest.mark.parametrize(("batch_size", "accumulation"), [(8, 1), (2, 4)])
def test_without_dropout_it_changes_nothing(batch_size: int, accumulation: int) -> None:
    """Both predictions are the same: what is left is the cross entropy, weighted as without R-Drop."""
    weights = []
    for order, alpha in ((batch_order(8, 1), 0.0), (batch_order(batch_size, accumulation), 0.7)):
        module = start_module(STEPS, **SETTINGS, r_drop=alpha)
        fit(module, order, DoublePrecision(), STEPS)
        weights.append(module.model.state_dict())
    for name, weight in weights[1].items():
        torch.testing.assert_close(weight, weights[0][name], rtol=0, atol=1e-9, msg=name)


def test_resumed_it_ends_bit_for_bit(tmp_path: Path) -> None:
    """The divergence is recorded, and its sum since the last record is in the checkpoint."""
    ends = []
    for resume in (None, tmp_path / "checkpoint"):
        history = TrainingHistory(tmp_path / "metrics.json", 4, STEPS, with_divergence=True)
        module = with_dropout(start_module(STEPS, **SETTINGS, r_drop=2.0))
        callbacks = [RngState(), history, SaveAt(3, tmp_path / "checkpoint")]
        fit(module, batch_order(4, 2), Precision(), STEPS, resume, callbacks)
        ends.append((history.train, module.model.state_dict()))
    (whole, whole_weights), (resumed, resumed_weights) = ends
    assert [record["step"] for record in whole] == [4, 6] and whole == resumed
    assert all(0 < record["r_drop_divergence"] < 1 < record["loss"] for record in whole)
    assert all(torch.equal(weight, resumed_weights[name]) for name, weight in whole_weights.items())


def test_it_draws_the_predictions_together(tmp_path: Path) -> None:
    divergences = []
    for alpha in (1e-9, 20.0):
        history = TrainingHistory(tmp_path / "metrics.json", 10, 10, with_divergence=True)
        module = with_dropout(start_module(20, **SETTINGS, r_drop=alpha))
        fit(module, batch_order(8, 1), Precision(), 20, callbacks=[history])
        divergences.append(history.train[-1]["r_drop_divergence"])
    assert divergences[1] < 0.9 * divergences[0]


def test_it_needs_dropout() -> None:
    check_dropout(0.0, CONFIG)
    check_dropout(0.7, CONFIG.copy(attention_dropout=0.1))
    with pytest.raises(InputError, match=r"--r_drop 0\.7: without dropout both predictions .*; give --dropout 0\.1"):
        check_dropout(0.7, CONFIG)
