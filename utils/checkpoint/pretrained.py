"""Configuration and tokenizer of a model, as both entry points find them."""

from pathlib import Path

from bart.checkpoints.weights import config_for, is_checkpoint, is_fairseq, read_config
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.fairseq_tokenizer import load_fairseq_tokenizer
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits

from ..io.run_files import BEST_MODEL_FOLDER, TOKENIZER_FOLDER


def load_config(config_path: str | None, model_name_or_path: str) -> BartConfig:
    """The configuration of a JSON file for a model or ``scratch``; without a file the one stored with the model.

    Raises InputError if there is none, or if the model is of another shape.
    """
    if config_path is None:
        return read_config(model_name_or_path)
    config = BartConfig.from_json_file(config_path)
    return config if model_name_or_path == "scratch" else config_for(model_name_or_path, config)


def load_tokenizer(tokenizer_name_or_path: str | None, model_name_or_path: str, config: BartConfig) -> BartTokenizer:
    """The tokenizer of that name or, where none is given, the model's own. Raises InputError if it does not fit."""
    name = tokenizer_name_or_path or model_name_or_path
    if name == model_name_or_path and is_fairseq(name):
        tokenizer = load_fairseq_tokenizer(Path(name))
    else:
        if name == model_name_or_path and is_checkpoint(name):
            name = _beside(Path(name))
        tokenizer = BartTokenizer.from_pretrained(name)
    check_fits(tokenizer, config, name)
    return tokenizer


def _beside(checkpoint: Path) -> str:
    """The tokenizer that training left in the folder of its checkpoints."""
    for folder in (TOKENIZER_FOLDER, BEST_MODEL_FOLDER):
        if (checkpoint.parent / folder).is_dir():
            return str(checkpoint.parent / folder)
    raise InputError(f"{checkpoint}: no folder {TOKENIZER_FOLDER} beside it; give --tokenizer_name_or_path")
