"""Float16 training by the real trainer, on a CPU: torch's scaler and fused AdamW take the same code path there."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import Precision

from tests.tiny_training import SaveAt, batch_order, fit, start_model, start_module
from utils.cli.training_args import MixedPrecisionSettings
from utils.training.callbacks.steps import ends_step
from utils.training.module import SummarizationModule
from utils.training.precision_plugin import NativeAmp, precision_plugin

STEPS = 12
ORDER = batch_order(batch_size=4, accumulation=2)
ARGUMENTS = {"learning_rate": 1e-3, "warmup_steps": 2, "gradient_clip_val": 0.1}


class GradientNorms(Callback):
    """Records the norm of the gradients at each step, before and after clipping."""

    def __init__(self) -> None:
        self.before: list[float] = []
        self.after: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: SummarizationModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if ends_step(trainer, batch_index):
            gradients = [weight.grad.norm() for weight in module.parameters()]
            self.before.append(module.gradient_norm.item())
            self.after.append(torch.stack(gradients).norm().item())


def started_at(scale: float) -> NativeAmp:
    """Make a plugin with this loss scale, which doubles every fourth step."""
    plugin = NativeAmp("cpu")
    plugin.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=4)
    return plugin


@pytest.mark.parametrize(
    ("flags", "plugin_class", "precision"),
    [
        ({}, Precision, "32-true"),
        ({"tf32": True}, Precision, "32-true"),
        ({"bf16": True}, pl.plugins.precision.MixedPrecision, "bf16-mixed"),
        ({"fp16": True, "amp_backend": "native"}, NativeAmp, "16-mixed"),
        ({"fp16": True, "amp_level": "O0"}, Precision, "32-true"),
    ],
)
def test_the_plugin_of_a_precision(flags: dict[str, object], plugin_class: type[Precision], precision: str) -> None:
    plugin = precision_plugin(MixedPrecisionSettings(**flags), "cpu")
    assert (type(plugin), plugin.precision) == (plugin_class, precision)


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "adafactor"])
def test_clips_unscaled_gradients(optimizer: str) -> None:
    """Norms and weights are those of float32, whatever the loss scale is."""
    norms, weights = {}, {}
    for name, plugin in {"float32": Precision(), "float16": started_at(2.0**12)}.items():
        module, norms[name] = start_module(STEPS, optimizer=optimizer, **ARGUMENTS), GradientNorms()
        fit(module, ORDER, plugin, STEPS, callbacks=[norms[name]])
        weights[name] = torch.cat([weight.flatten() for weight in module.parameters()])
    assert len(norms["float16"].before) == STEPS and min(norms["float32"].before) > 0.2
    assert norms["float16"].before == pytest.approx(norms["float32"].before, rel=0.05)
    assert norms["float16"].after == pytest.approx([0.1] * STEPS, rel=1e-3)
    start = torch.cat([weight.flatten() for weight in start_model().parameters()])
    moved = (weights["float32"] - start).norm()
    assert (weights["float16"] - weights["float32"]).norm() < 0.2 * moved


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_a_step_that_overflows_changes_nothing_but_the_scale(optimizer: str) -> None:
    plugin = started_at(2.0**40)
    module = start_module(STEPS, optimizer=optimizer, **ARGUMENTS)
    trainer = fit(module, ORDER, plugin, 3)
    assert plugin.scaler.get_scale() == 2.0**37
    for name, weight in start_model().named_parameters():
        assert torch.equal(weight, module.model.get_parameter(name)), name
    state = trainer.optimizers[0].state
    assert all(not moment.any() for values in state.values() for moment in values.values()), "moments or step counts"


def test_goes_on_after_overflows() -> None:
    plugin = started_at(2.0**30)
    module, norms = start_module(20, **ARGUMENTS), GradientNorms()
    fit(module, ORDER, plugin, 20, callbacks=[norms])
    assert not torch.isfinite(torch.tensor(norms.before[0])) and torch.isfinite(torch.tensor(norms.before[-1]))
    assert all(weight.isfinite().all() for weight in module.parameters())
    assert not torch.equal(module.model.model.shared.weight, start_model().model.shared.weight)


def test_resumes_bit_for_bit(tmp_path: Path) -> None:
    """At the checkpoint the scale has been halved and doubled, and is about to be doubled again."""
    path, plugins = tmp_path / "last.ckpt", [started_at(2.0**30), started_at(2.0**3)]
    uninterrupted, resumed = start_module(20, **ARGUMENTS), start_module(20, **ARGUMENTS)
    fit(uninterrupted, ORDER, plugins[0], 20, callbacks=[SaveAt(17, path)])
    fit(resumed, ORDER, plugins[1], 20, resume=path)
    assert plugins[0].state_dict() == plugins[1].state_dict()
    for name, weight in uninterrupted.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
