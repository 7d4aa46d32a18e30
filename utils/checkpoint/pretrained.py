"""Finds the configuration and the tokenizer of a model, in the same way for both entry points."""

from pathlib import Path

from bart.checkpoints.weights import config_for, is_checkpoint, is_fairseq, read_config
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.fairseq_tokenizer import load_fairseq_tokenizer
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits

from ..io.run_files import BEST_MODEL_FOLDER, TOKENIZER_FOLDER


def load_config(config_path: str | None, model_name_or_path: str) -> BartConfig:
    """Read the configuration from a JSON file, or without a file from the model.

    The model's own numbers of layers and of tokens count. Raises InputError if there is no configuration, or if the
    model's shape differs otherwise; ``scratch`` may have any.
    """
    if config_path is None:
        return read_config(model_name_or_path)
    config = BartConfig.from_json_file(config_path)
    return config if model_name_or_path == "scratch" else config_for(model_name_or_path, config, own_layers=True)


def load_tokenizer(tokenizer_name_or_path: str | None, model_name_or_path: str, config: BartConfig) -> BartTokenizer:
    """Load the named tokenizer, or the model's own if the name is None. Raises InputError if it does not fit."""
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
    """Return the folder of the tokenizer that the training wrote beside its checkpoints."""
    for folder in (TOKENIZER_FOLDER, BEST_MODEL_FOLDER):
        if (checkpoint.parent / folder).is_dir():
            return str(checkpoint.parent / folder)
    raise InputError(f"{checkpoint}: has no folder {TOKENIZER_FOLDER} beside it; give --tokenizer_name_or_path")
