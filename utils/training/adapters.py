"""Adapters (LoRA; Hu et al. 2021, https://arxiv.org/abs/2106.09685): a training of few numbers beside frozen weights.

Every linear layer of encoder and decoder gets one. They are peft's, an optional package, which is imported only here.
"""

from pathlib import Path
from typing import Any

from bart.atomic_directory import atomic_directory
from bart.checkpoints.adapters import SCALING, adapter_tensors
from bart.checkpoints.weights import write_tensors
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.checkpoint_io import load_checkpoint
from ..cli.training_args import ModelSettings
from .memory_estimate import memory_plan, state_bytes

_LAYERS = r"model\.({sides})\.layers\..*(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
_OF_MODULE = "model."  # before the names of the model's tensors in a checkpoint


def check_peft(rank: int | None) -> None:
    """Raise InputError if adapters are asked for and peft is missing."""
    if rank is None:
        return
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"--lora {rank}: the package peft cannot be imported ({error}); install it: pip install peft"
        ) from error


def add_adapters(model: BartForConditionalGeneration, settings: ModelSettings, mixed_precision: bool) -> str:
    """Add adapters to a model in place, and freeze everything else. They change nothing until they are trained.

    Args:
        model: with the parts frozen that a training without adapters would freeze.
        settings: with the rank; if the encoder is frozen, only the decoder gets adapters.
        mixed_precision: whether products are in half precision.

    Returns:
        a line that says what is trained, and how much memory that takes
    """
    from peft import inject_adapter_in_model
    from peft.tuners.lora import LoraLayer

    without = memory_plan(model, mixed_precision)
    inject_adapter_in_model(_lora_config(settings, inference_mode=False), model)
    for layer in model.modules():
        if isinstance(layer, LoraLayer):
            layer.cast_input_dtype_enabled = False  # autocast does it; peft's cast would be kept beside the input
    plan = memory_plan(model, mixed_precision)
    return (
        f"--lora {settings.lora}: {plan.trained_parameters:,} of {plan.parameters:,} parameters are trained"
        f" ({plan.trained_parameters / plan.parameters:.2%}); weights, gradients and AdamW take"
        f" {_megabytes(state_bytes(plan))}, without --lora {_megabytes(state_bytes(without))}"
    )


def save_adapter(checkpoint: Path, settings: ModelSettings, folder: Path) -> None:
    """Write the adapters of a checkpoint as a folder of peft, complete or not at all. Raises OSError."""
    stored = load_checkpoint(checkpoint)["state_dict"]
    tensors = adapter_tensors({name.removeprefix(_OF_MODULE): tensor for name, tensor in stored.items()})
    with atomic_directory(folder) as unfinished:
        _lora_config(settings, inference_mode=True).save_pretrained(unfinished)
        write_tensors(tensors, unfinished / "adapter_model.safetensors")


def _lora_config(settings: ModelSettings, inference_mode: bool) -> Any:
    from peft import LoraConfig

    assert settings.lora is not None
    return LoraConfig(
        r=settings.lora,
        lora_alpha=SCALING * settings.lora,
        target_modules=_LAYERS.format(sides="decoder" if settings.freeze_encoder else "encoder|decoder"),
        bias="none",
        task_type="SEQ_2_SEQ_LM",
        base_model_name_or_path=settings.model_name_or_path,
        inference_mode=inference_mode,
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
