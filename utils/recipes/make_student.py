"""Making a student: a model in any form that this project reads in, a Hugging Face folder with fewer layers out."""

from pathlib import Path

from bart.checkpoints.weights import read_config
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.export import save_model
from ..checkpoint.pretrained import load_tokenizer
from ..checkpoint.student import layers_to_copy, shrink


def make_student(
    teacher: str,
    folder: Path,
    encoder_layers: int | None = None,
    decoder_layers: int | None = None,
    tokenizer_name_or_path: str | None = None,
    allow_non_finite: bool = False,
) -> str:
    """Write the folder, complete or not at all.

    Args:
        teacher: A .ckpt, a model.pt, a Hugging Face folder or a hub id.
        folder: The folder to write, which must not be there yet.
        encoder_layers: The student's encoder layers; None for all of the teacher's.
        decoder_layers: The student's decoder layers; None for all of the teacher's.
        tokenizer_name_or_path: The tokenizer if it is not the teacher's own.
        allow_non_finite: Take weights that are NaN or infinite.

    Returns:
        A line for people: what was copied, and the number of parameters of both.

    Raises:
        InputError: The teacher or its tokenizer cannot be used, it has fewer layers, or ``folder`` exists.
    """
    if folder.exists():
        raise InputError(f"{folder} exists; give a new folder")
    config = read_config(teacher)
    tokenizer = load_tokenizer(tokenizer_name_or_path, teacher, config)
    model = BartForConditionalGeneration.from_pretrained(teacher, allow_non_finite=allow_non_finite)
    before = _millions(model)
    shrink(model, encoder_layers, decoder_layers)
    save_model(model, tokenizer, folder)
    layers = " and ".join(_copied(side, config, model.config) for side in ("encoder", "decoder"))
    return f"{layers}; {_millions(model):.1f} million parameters, the teacher has {before:.1f} million"


def _millions(model: BartForConditionalGeneration) -> float:
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def _copied(side: str, teacher: BartConfig, student: BartConfig) -> str:
    """Name the layers of a side that were copied, such as "3 of 12 decoder layers (0, 6, 11)"."""
    present, kept = (getattr(config, f"{side}_layers") for config in (teacher, student))
    numbers = f" ({', '.join(map(str, layers_to_copy(present, kept)))})" if kept < present else ""
    return f"{kept} of {present} {side} layers{numbers}"
