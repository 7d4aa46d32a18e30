"""What only CUDA can show: precisions, fused optimizers with clipping, overflows and the loss scaler's resume.

The tests of apex need NVIDIA's apex: those of amp a version that still has it, in a process of their own, as apex.amp
changes torch for good.
"""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from tests.tiny_training import SaveAt, batch_order, fit, start_model, start_module
from utils.cli.training_args import MixedPrecisionSettings, ModelSettings, OptimizationSettings
from utils.runtime.apex_package import fused_optimizers, why_no_amp
from utils.runtime.precision import apply_matmul_precision
from utils.training.amp import choose_amp_backend
from utils.training.optimization import build_optimizer, clip_gradients
from utils.training.precision_plugin import NativeAmp, precision_plugin

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).parents[2]
STEPS = 12
ORDER = batch_order(batch_size=4, accumulation=2)
ARGUMENTS = {"learning_rate": 1e-3, "warmup_steps": 2, "gradient_clip_val": 0.1}


def flat(weights: Any) -> Tensor:
    return torch.cat([weight.detach().float().cpu().flatten() for weight in weights])


def trained(device: str, optimizer: str, **flags: Any) -> Tensor:
    """The weights after the steps, in a precision."""
    precision, _ = choose_amp_backend(MixedPrecisionSettings(**flags), ModelSettings(), processes=1)
    apply_matmul_precision(precision.name)
    module = start_module(STEPS, optimizer=optimizer, **ARGUMENTS)
    fit(module, ORDER, precision_plugin(precision, device), STEPS, accelerator=device)
    return flat(module.parameters())


@pytest.mark.parametrize("optimizer", ["adamw", "lamb", "adafactor"])
@pytest.mark.parametrize("flag", ["fp16", "bf16", "tf32"])
def test_learns_what_float32_learns(flag: str, optimizer: str, device: str) -> None:
    if device == "cuda" and flag == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("this GPU has no bfloat16")
    expected, start = trained(device, optimizer), flat(start_model().parameters())
    found = trained(device, optimizer, **{flag: True, "amp_backend": "native"})
    assert (found - expected).norm() < 0.2 * (expected - start).norm()


def test_a_fused_step_that_overflows_changes_nothing_but_the_scale(device: str) -> None:
    plugin = NativeAmp(device)
    plugin.scaler = torch.amp.GradScaler(device, init_scale=2.0**60)
    module = start_module(STEPS, **ARGUMENTS)
    trainer = fit(module, ORDER, plugin, 3, accelerator=device)
    assert plugin.scaler.get_scale() == 2.0**57
    assert torch.equal(flat(module.parameters()), flat(start_model().parameters()))
    assert all(not moment.any() for state in trainer.optimizers[0].state.values() for moment in state.values())


@pytest.mark.parametrize("flag", ["fp16", "bf16"])
def test_resumes_with_the_loss_scale(flag: str, tmp_path: Path, device: str) -> None:
    """CUDA's backward pass of embeddings adds in no fixed order, so weights are compared within rounding."""
    path, ends = tmp_path / "last.ckpt", []
    for resume in (None, path):
        plugin = precision_plugin(MixedPrecisionSettings(**{flag: True}, amp_backend="native"), device)
        module = start_module(STEPS, **ARGUMENTS)
        fit(module, ORDER, plugin, STEPS, resume=resume, callbacks=[SaveAt(8, path)], accelerator=device)
        ends.append((plugin.state_dict(), flat(module.parameters())))
    assert ends[0][0] == ends[1][0]
    assert (ends[0][1] - ends[1][1]).norm() < 1e-3 * ends[0][1].norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_generates_in_half_precision(dtype: torch.dtype, device: str) -> None:
    """Also where a feed-forward network exceeds float16's range."""
    torch.manual_seed(0)
    model = BartForConditionalGeneration(tiny_config().copy(init_std=0.3)).eval().to(device)
    with torch.no_grad():
        model.model.encoder.layers[0].fc2.weight[3] *= 3e4
        sources = torch.randint(4, 400, (6, 24), device=device)
        expected = model(sources, labels=sources).logits
        halved = copy.deepcopy(model).to(dtype)
        assert (halved(sources, labels=sources).logits - expected).norm() < 0.1 * expected.norm()
        assert (halved.generate(sources, num_beams=3, max_length=16) < 400).all()


@pytest.mark.skipif(fused_optimizers() is None, reason="needs apex with its CUDA extension")
@pytest.mark.usefixtures("only_cuda")
@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_apex_optimizers_compute_what_torchs_do(name: str) -> None:
    """Beyond the length at which FusedLAMB would clip by itself; and clipped."""
    for limit in (0.0, 0.1):
        ends = []
        for optimizers in (None, fused_optimizers()):
            model, generator = start_model().cuda(), torch.Generator("cuda").manual_seed(0)
            optimizer = build_optimizer(model, OptimizationSettings(optimizer=name, learning_rate=1e-2), optimizers)
            for _ in range(5):
                for weight in model.parameters():
                    weight.grad = torch.randn(weight.shape, generator=generator, device="cuda")
                clip_gradients(model.parameters(), limit)
                optimizer.step()
            ends.append(flat(model.parameters()))
        torch.testing.assert_close(ends[1], ends[0], rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(why_no_amp() is not None, reason="needs an apex that has amp")
@pytest.mark.usefixtures("only_cuda")
@pytest.mark.parametrize("level", ["O1", "O2"])
@pytest.mark.parametrize("check", ["learns", "overflows", "resumes"])
def test_apex_amp(check: str, level: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.gpu.apex_amp", check, level, str(tmp_path / "last.ckpt")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
