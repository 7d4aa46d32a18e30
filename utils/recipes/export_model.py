"""Exporting: a model in any form that this project reads in, a Hugging Face folder out."""

from pathlib import Path

from bart.checkpoints.weights import read_config
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.export import save_model
from ..checkpoint.pretrained import load_tokenizer
from ..reporting.model_card import model_card


def export_model(
    model: str,
    folder: Path,
    tokenizer_name_or_path: str | None = None,
    half: bool = False,
    allow_non_finite: bool = False,
) -> None:
    """Write the folder, whole or not at all.

    Args:
        model: A .ckpt, a model.pt, a Hugging Face folder or a hub id.
        folder: The folder to write; a model that is there already is replaced.
        tokenizer_name_or_path: The tokenizer if it is not the model's own.
        half: Write float16 weights.
        allow_non_finite: Take weights that are NaN or infinite.

    Raises:
        InputError: The model or its tokenizer cannot be used, or ``folder`` holds something that is no model.
    """
    if folder.exists() and not (folder / "config.json").is_file() and not _is_empty(folder):
        raise InputError(f"{folder} exists and holds no model that could be replaced; give a new folder")
    config = read_config(model)
    tokenizer = load_tokenizer(tokenizer_name_or_path, model, config)
    network = BartForConditionalGeneration.from_pretrained(model, allow_non_finite=allow_non_finite)
    card = model_card(model, config, sum(parameter.numel() for parameter in network.parameters()))
    save_model(network.half() if half else network, tokenizer, folder, card)


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None
