"""The plugin for apex.amp in the real trainer, with a fake apex (tests/fake_apex) that refuses what apex refuses."""

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.precision import Precision

from bart.errors import InputError
from bart.modeling.kernels.available import triton_kernels
from tests.tiny_training import SaveAt, batch_order, fit, start_model, start_module
from utils.checkpoint.checkpoint_io import load_checkpoint
from utils.cli.training_args import MixedPrecisionSettings, ModelSettings, OptimizationSettings
from utils.training.amp import choose_amp_backend
from utils.training.callbacks.steps import ends_step
from utils.training.optimization import build_optimizer
from utils.training.precision_plugin import NativeAmp, precision_plugin

FAKE = Path(__file__).parents[2] / "fake_apex"
PLUGIN = Path(__file__).parents[3] / "utils" / "training" / "apex_amp.py"
STEPS = 12
ORDER = batch_order(batch_size=4, accumulation=2)
ARGUMENTS = {"learning_rate": 1e-3, "warmup_steps": 2, "gradient_clip_val": 0.1}

# The signatures of apex at the tag 25.05, with the file of each.
SIGNATURES = {
    "amp.register_half_function": ("apex/amp/amp.py", "(module, name)"),
    "amp.initialize": (
        "apex/amp/frontend.py",
        "(models, optimizers=None, enabled=True, opt_level='O1', cast_model_type=None, patch_torch_functions=None,"
        " keep_batchnorm_fp32=None, master_weights=None, loss_scale=None, cast_model_outputs=None, num_losses=1,"
        " verbosity=1, min_loss_scale=None, max_loss_scale=16777216.0)",
    ),
    "amp.state_dict": ("apex/amp/frontend.py", "(destination=None)"),
    "amp.load_state_dict": ("apex/amp/frontend.py", "(state_dict)"),
    "amp.scale_loss": (
        "apex/amp/handle.py",
        "(loss, optimizers, loss_id=0, model=None, delay_unscale=False, delay_overflow_check=False)",
    ),
    "amp.master_params": ("apex/amp/_amp_state.py", "(optimizer)"),
    "optimizers.FusedAdam": (
        "apex/optimizers/fused_adam.py",
        "(params, lr=0.001, bias_correction=True, betas=(0.9, 0.999), eps=1e-08, adam_w_mode=True, weight_decay=0.0,"
        " amsgrad=False, set_grad_none=True, capturable=False, master_weights=False)",
    ),
    "optimizers.FusedLAMB": (
        "apex/optimizers/fused_lamb.py",
        "(params, lr=0.001, bias_correction=True, betas=(0.9, 0.999), eps=1e-06, weight_decay=0.01, amsgrad=False,"
        " adam_w_mode=True, grad_averaging=True, set_grad_none=True, max_grad_norm=1.0, use_nvlamb=False)",
    ),
}
NOT_A_CALL = {"amp._amp_state"}  # apex/amp/_amp_state.py; its `handle._is_active` is apex/amp/handle.py's


def forget_apex() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("apex", "amp_C")]:
        del sys.modules[name]
    sys.modules.pop("utils.training.apex_amp", None)


@pytest.fixture
def apex(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Import a fresh fake apex; afterwards torch is as it was."""
    forget_apex()
    monkeypatch.syspath_prepend(FAKE)
    import apex.amp
    import apex.optimizers

    yield apex
    apex.amp.undo_patches()
    forget_apex()


def apex_amp(level: str) -> Precision:
    return precision_plugin(MixedPrecisionSettings(fp16=True, amp_level=level, amp_backend="apex"), "cpu")


class Norms(Callback):
    """Records the norm of the gradients that the optimizer reads at each step, before and after clipping."""

    def __init__(self, plugin: Precision) -> None:
        self.plugin = plugin
        self.before: list[float] = []
        self.after: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_index: int) -> None:
        if ends_step(trainer, batch_index):
            gradients = [weight.grad.norm() for weight in self.plugin.main_params(trainer.optimizers[0])]
            self.before.append(module.gradient_norm.item())
            self.after.append(torch.stack(gradients).norm().item())

def calls_named(apex: ModuleType, name: str) -> list[dict[str, Any]]:
    """List the arguments of each call, bound to names by the signature of the real function."""
    signature = inspect.signature(getattr(apex.amp, name))
    return [
        signature.bind(*args, **kwargs).arguments for called, args, kwargs in apex.amp.calls if called == name
    ]


def test_the_fake_has_the_signatures_of_apex(apex: ModuleType) -> None:
    for name, (_, signature) in SIGNATURES.items():
        module, function = name.split(".")
        assert str(inspect.signature(getattr(getattr(apex, module), function))) == signature, name


def test_the_plugin_calls_nothing_else() -> None:
    tree = ast.parse(PLUGIN.read_text(encoding="utf-8"))
    names = {
        f"amp.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "amp"
    }
    assert names == {name for name in SIGNATURES if name.startswith("amp.")} | NOT_A_CALL


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("level", ["O1", "O2"])
def test_learns_what_float32_learns(apex: ModuleType, level: str, optimizer: str) -> None:
    """With accumulation and clipping, the norms are those of unscaled gradients."""
    norms, weights = [], []
    apex.amp.settings.initial_scale = 2.0**12
    for plugin in (Precision(), apex_amp(level)):
        norms.append(Norms(plugin))
        module = start_module(STEPS, optimizer=optimizer, **ARGUMENTS)
        fit(module, ORDER, plugin, STEPS, callbacks=[norms[-1]] if level == "O1" else [])
        weights.append(torch.cat([weight.flatten().float() for weight in module.parameters()]))
    start = torch.cat([weight.flatten() for weight in start_model().parameters()])
    assert (weights[0] - weights[1]).norm() < 0.2 * (weights[0] - start).norm()
    if level == "O1":
        assert norms[1].before == pytest.approx(norms[0].before, rel=0.05) and min(norms[0].before) > 0.2
        assert norms[1].after == pytest.approx([0.1] * STEPS, rel=1e-3)


def test_the_order_of_calls(apex: ModuleType) -> None:
    fit(start_module(STEPS, **ARGUMENTS), ORDER, apex_amp("O1"), 3)
    names = [name for name, *_ in apex.amp.calls]
    assert names == ["register_half_function", "initialize", *["scale_loss", "scale_loss", "master_params"] * 3]
    (registered,) = calls_named(apex, "register_half_function")
    assert registered == {"module": torch.nn.functional, "name": "scaled_dot_product_attention"}
    # Gradients stay scaled until the last micro-batch of a step has added its own.
    assert [call["delay_unscale"] for call in calls_named(apex, "scale_loss")] == [True, False] * 3


def test_casts_are_on_in_training_steps_alone(apex: ModuleType) -> None:
    """Apex's patches affect neither validation nor code after the training."""
    seen: list[bool] = []

    class Watch(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            seen.append(apex.amp._amp_state.handle._is_active)

    module, dtypes = start_module(STEPS, **ARGUMENTS), []
    module.model.model.encoder.layers[0].fc1.register_forward_hook(lambda *given: dtypes.append(given[-1].dtype))
    plugin = apex_amp("O1")
    fit(module, ORDER, plugin, 3, callbacks=[Watch()])
    assert seen == [False] * 6 and dtypes == [torch.float16] * 6
    tokens = torch.full((1, 3), 5)
    with torch.inference_mode(), plugin.val_step_context():
        module.model(tokens, labels=tokens)
    module.model(tokens, labels=tokens)
    assert dtypes[6:] == [torch.float16, torch.float32] and not apex.amp._amp_state.handle.cache


def test_o1_leaves_kernels_out(apex: ModuleType, request: pytest.FixtureRequest) -> None:
    """Amp casts the arguments of torch's functions; kernels stand in for these."""

    def train() -> list[torch.Tensor]:
        module = start_module(STEPS, **ARGUMENTS)
        fit(module, ORDER, apex_amp("O1"), 2)
        return [weight.detach() for weight in module.parameters()]

    expected = train()
    request.getfixturevalue("kernels_on_cpu")
    assert triton_kernels(expected[0]) is not None
    for ours, theirs in zip(train(), expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_overflows_skip_steps(apex: ModuleType, level: str) -> None:
    apex.amp.settings.initial_scale = 2.0**40
    module = start_module(STEPS, **ARGUMENTS)
    plugin = apex_amp(level)
    fit(module, ORDER, plugin, 3)
    assert plugin.state_dict()["loss_scalers"] == {"loss_scaler0": {"loss_scale": 2.0**37, "unskipped": 0}}
    for name, weight in start_model().named_parameters():
        assert torch.equal(weight.to(torch.float16), module.model.get_parameter(name).half()), name


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.parametrize("level", ["O1", "O2"])
def test_resumes_bit_for_bit(apex: ModuleType, level: str, optimizer: str, tmp_path: Path) -> None:
    """The checkpoint was saved after steps that were skipped and others that doubled the scale."""
    apex.amp.settings.initial_scale, apex.amp.settings.steps_to_double = 2.0**30, 4
    path, ends = tmp_path / "last.ckpt", []
    for resume in (None, path):
        plugin = apex_amp(level)
        module = start_module(20, optimizer=optimizer, **ARGUMENTS)
        trainer = fit(module, ORDER, plugin, 20, resume=resume, callbacks=[SaveAt(15, path)])
        ends.append({"scaler": plugin.state_dict(), "moments": trainer.optimizers[0].state_dict()["state"]})
        ends[-1]["weights"] = module.state_dict()
        apex.amp.undo_patches()
        apex.amp.settings.initial_scale = 2.0**3  # shows in the end if the state is not loaded
    torch.testing.assert_close(ends[1], ends[0], rtol=0, atol=0)
    moved = ends[0]["weights"]["model.model.decoder.layers.0.fc1.weight"].float()
    assert not torch.equal(moved, start_model().model.decoder.layers[0].fc1.weight)
    stored = load_checkpoint(path)
    assert stored["ApexAmp"]["loss_scalers"]["loss_scaler0"]["loss_scale"] < 2.0**30
    assert ("master_weights" in stored["ApexAmp"]) == (level == "O2")


def test_hands_amp_the_model_within_ddp(apex: ModuleType, tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(start_model())
        optimizers = [build_optimizer(wrapped, OptimizationSettings())]
        assert apex_amp("O1").connect(wrapped, optimizers, []) == (wrapped, optimizers, [])
    finally:
        torch.distributed.destroy_process_group()
    (call,) = calls_named(apex, "initialize")
    assert call["models"] is wrapped.module and call["opt_level"] == "O1"


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_fused_optimizers_compute_what_torchs_do(apex: ModuleType, name: str) -> None:
    """The gradients are longer than FusedLAMB's own limit for clipping, and vectors are not decayed."""
    steps = []
    for optimizers in (None, apex.optimizers):
        model = start_model()
        optimizer = build_optimizer(
            model, OptimizationSettings(optimizer=name, learning_rate=1e-2, adam_beta2=0.98), optimizers
        )
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            for weight in model.parameters():
                weight.grad = torch.randn(weight.shape, generator=generator)
            optimizer.step()
        steps.append(model.state_dict())
    assert type(optimizer).__name__ == {"adamw": "FusedAdam", "lamb": "FusedLAMB"}[name]
    for key, weight in steps[0].items():
        torch.testing.assert_close(steps[1][key], weight, rtol=1e-4, atol=1e-6, msg=key)


def test_a_run_keeps_its_class_of_optimizer(apex: ModuleType, tmp_path: Path) -> None:
    """The state of apex's optimizers has another layout than that of torch's."""
    path = tmp_path / "last.ckpt"
    fit(start_module(STEPS, **ARGUMENTS), ORDER, NativeAmp("cpu"), 3, callbacks=[SaveAt(2, path)])
    checkpoint = load_checkpoint(path)
    checkpoint["hyper_parameters"]["optimizer"] = "apex.optimizers.fused_adam.FusedAdam"
    torch.save(checkpoint, path)
    with pytest.raises(InputError, match=r"was apex\.optimizers.* and is now torch\.optim\.adamw\.AdamW"):
        fit(start_module(STEPS, **ARGUMENTS), ORDER, NativeAmp("cpu"), 3, resume=path)


def chosen(level: str = "O1", backend: str = "auto", processes: int = 1) -> tuple[str, str | None]:
    precision = MixedPrecisionSettings(fp16=True, amp_level=level, amp_backend=backend)
    precision, line = choose_amp_backend(precision, ModelSettings(), processes)
    return precision.amp_backend, line


def test_auto_takes_apex_if_it_has_amp(apex: ModuleType) -> None:
    assert chosen() == ("apex", "fp16: apex's mixed precision, level O1 (apex.amp is installed)")
    assert chosen(backend="native")[0] == "native" and chosen(level="O2")[0] == "apex"
    with pytest.raises(InputError, match="on one GPU alone; give --amp_level O1"):
        chosen(level="O2", processes=2)


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([], "apex is not installed"),
        (["apex/__init__.py", "apex/models.py"], "the apex in .* is not NVIDIA's"),
        (["apex/__init__.py", "apex/multi_tensor_apply/__init__.py"], "the apex installed is newer than May 2025"),
        (
            ["apex/__init__.py", "apex/multi_tensor_apply/__init__.py", "apex/amp/__init__.py"],
            r"apex\.amp cannot be imported here \(ImportError: ",
        ),
    ],
)
def test_says_why_there_is_no_apex(files: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise ImportError('undefined symbol')\n")
    forget_apex()
    monkeypatch.syspath_prepend(tmp_path)
    backend, line = chosen()
    assert backend == "native" and line is not None and line.startswith("fp16: torch's own mixed precision, level O1 (")
    with pytest.raises(InputError, match=f"^--amp_backend apex: {why}.*nvidia/pytorch:25.05-py3.*--amp_backend"):
        chosen(backend="apex")
    with pytest.raises(InputError, match=f"^--amp_level O2: needs apex.amp, but {why}.*; give --amp_level O1$"):
        chosen(level="O2")
    forget_apex()
