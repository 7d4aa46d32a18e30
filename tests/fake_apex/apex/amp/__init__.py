"""What this project uses of apex.amp. Tensors on the CPU count as tensors on a GPU."""

import functools
from collections.abc import Callable
from contextlib import contextmanager
from types import MethodType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []  # name, arguments; for tests
settings = SimpleNamespace(initial_scale=2.0**16, steps_to_double=2000)  # for tests: apex has these values
_amp_state = SimpleNamespace()
patched: list[tuple[Any, str, Any]] = []  # object, name, what was there; None where it was inherited
_half_functions: list[tuple[Any, str]] = []


def _recorded(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls.append((function.__name__, args, kwargs))
        return function(*args, **kwargs)

    return wrapper


@_recorded
def register_half_function(module, name):
    getattr(module, name)
    _half_functions.append((module, name))


@_recorded
def initialize(
    models,
    optimizers=None,
    enabled=True,
    opt_level="O1",
    cast_model_type=None,
    patch_torch_functions=None,
    keep_batchnorm_fp32=None,
    master_weights=None,
    loss_scale=None,
    cast_model_outputs=None,
    num_losses=1,
    verbosity=1,
    min_loss_scale=None,
    max_loss_scale=2.0**24,
):
    assert isinstance(models, nn.Module) and isinstance(optimizers, list), "what this project gives"
    if isinstance(models, nn.parallel.DistributedDataParallel):
        raise RuntimeError("Parallel wrappers should only be applied to the model(s) AFTER amp.initialize")
    if any(weight.dtype != torch.float32 for weight in models.parameters()):
        raise RuntimeError("expected float32 weights")
    _amp_state.scaler = SimpleNamespace(scale=settings.initial_scale, unskipped=0)
    if opt_level == "O2":
        models.half()
    for optimizer in optimizers:
        if hasattr(optimizer, "_stash"):
            raise RuntimeError("A given optimizer should only be passed through amp.initialize once.")
        _prepare_optimizer(optimizer, opt_level == "O2")
    if opt_level == "O1":
        _patch_torch()
        for optimizer in optimizers:
            _patch_step_without_casts(optimizer)
    return models, optimizers


def _prepare_optimizer(optimizer: Optimizer, with_masters: bool) -> None:
    """``pairs`` are the model's weights with their master weights; without these, with themselves."""
    optimizer._stash = SimpleNamespace(with_masters=with_masters, pairs=None, scaled=False, skips=False)
    if not with_masters:
        return
    step, zero_grad = optimizer.step, optimizer.zero_grad

    def step_and_copy(self, closure=None):
        if closure is not None:
            raise RuntimeError("Currently, Amp does not support closure use with optimizers.")
        step()
        for weight, master in _pairs(self):
            weight.data.copy_(master.data)
            master.grad = None

    def zero_all(self):
        for weight, master in _pairs(self):
            weight.grad = master.grad = None
        zero_grad()

    optimizer.step, optimizer.zero_grad = MethodType(step_and_copy, optimizer), MethodType(zero_all, optimizer)


def _pairs(optimizer: Optimizer) -> list[tuple[Tensor, Tensor]]:
    """Master weights are made when they are first asked for, as in apex."""
    stash = optimizer._stash
    if stash.pairs is None:
        stash.pairs = []
        for group in optimizer.param_groups:
            for index, weight in enumerate(group["params"]):
                master = weight
                if stash.with_masters:
                    master = group["params"][index] = weight.detach().clone().float().requires_grad_()
                stash.pairs.append((weight, master))
    return stash.pairs


@_recorded
@contextmanager
def scale_loss(loss, optimizers, loss_id=0, model=None, delay_unscale=False, delay_overflow_check=False):
    assert isinstance(optimizers, Optimizer), "what this project gives"
    stash, scaler = optimizers._stash, _amp_state.scaler
    kept: list[Tensor | None] = []
    pairs = _pairs(optimizers) if not delay_unscale else []
    if not delay_unscale and not stash.scaled and not stash.with_masters:
        kept = [weight.grad for weight, _ in pairs]
        for weight, _ in pairs:
            weight.grad = None
    yield loss.float() * scaler.scale
    if hasattr(_amp_state, "handle"):
        _amp_state.handle.cache.clear()
    stash.scaled = delay_unscale
    if delay_unscale:
        return
    overflow = False
    for index, (weight, master) in enumerate(pairs):
        if weight.grad is None:
            continue
        overflow = overflow or not weight.grad.isfinite().all()
        master.grad = weight.grad.float() / scaler.scale
        if kept and kept[index] is not None:
            master.grad += kept[index]
    scaler.scale, scaler.unskipped = (scaler.scale / 2, 0) if overflow else (scaler.scale, scaler.unskipped + 1)
    if scaler.unskipped == settings.steps_to_double:
        scaler.scale, scaler.unskipped = min(scaler.scale * 2, 2.0**24), 0
    if overflow and not stash.skips:
        _skip_next_step(optimizers)


def _skip_next_step(optimizer: Optimizer) -> None:
    step = optimizer.step
    optimizer._stash.skips = True

    def skip_step(closure=None):
        if closure is not None:
            raise RuntimeError("Currently, Amp does not support closure use with optimizers.")
        optimizer.step, optimizer._stash.skips = step, False

    optimizer.step = skip_step


@_recorded
def master_params(optimizer):
    for group in optimizer.param_groups:
        yield from group["params"]


@_recorded
def state_dict(destination=None):
    scaler = _amp_state.scaler
    return {"loss_scaler0": {"loss_scale": scaler.scale, "unskipped": scaler.unskipped}}


@_recorded
def load_state_dict(state_dict):
    stored = state_dict["loss_scaler0"]
    _amp_state.scaler.scale, _amp_state.scaler.unskipped = stored["loss_scale"], stored["unskipped"]


class _Handle:
    """Casts what torch's functions are given, while it is active."""

    def __init__(self) -> None:
        self._is_active = True
        self.cache: dict[Tensor, Tensor] = {}

    def half(self, value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.half()
        kept = self.cache.get(value)
        if kept is None or (torch.is_grad_enabled() and kept.requires_grad != value.requires_grad):
            kept = self.cache[value] = value.half()
        return kept

    @staticmethod
    def float(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _patch_torch() -> None:
    handle = _amp_state.handle = _Handle()
    functional = nn.functional
    for module, name in [(functional, "linear"), *_half_functions]:
        _patch(module, name, handle, handle.half)
    for name in ("layer_norm", "cross_entropy", "softmax"):
        _patch(functional, name, handle, handle.float)
    for name in ("__add__", "__iadd__", "__mul__", "__sub__", "__truediv__"):
        _patch_to_refuse_float64(name, handle)


def _patch(module: Any, name: str, handle: _Handle, cast: Callable[[Any], Any]) -> None:
    original = getattr(module, name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not handle._is_active:
            return original(*args, **kwargs)
        return original(*map(cast, args), **{key: cast(value) for key, value in kwargs.items()})

    _set(module, name, wrapper)


def _patch_to_refuse_float64(name: str, handle: _Handle) -> None:
    """apex promotes half to float32 and raises for any other two types."""
    original = getattr(Tensor, name)

    @functools.wraps(original)
    def wrapper(*args: Any) -> Any:
        types = {value.dtype for value in args if isinstance(value, Tensor) and value.is_floating_point()}
        if handle._is_active and len(types) > 1 and types != {torch.float16, torch.float32}:
            raise NotImplementedError(f"Do not know how to handle these types to promote: {types}")
        return original(*args)

    _set(Tensor, name, wrapper)


def _set(module: Any, name: str, function: Callable[..., Any]) -> None:
    patched.append((module, name, vars(module).get(name)))
    setattr(module, name, function)


def undo_patches() -> None:
    """For tests: torch as it was."""
    while patched:
        module, name, original = patched.pop()
        if original is None:
            delattr(module, name)
        else:
            setattr(module, name, original)


def _patch_step_without_casts(optimizer: Optimizer) -> None:
    step = optimizer.step

    def step_without_casts(self, *args: Any, **kwargs: Any) -> Any:
        _amp_state.handle._is_active = False
        result = step(*args, **kwargs)
        _amp_state.handle._is_active = True
        return result

    optimizer.step = MethodType(step_without_casts, optimizer)
