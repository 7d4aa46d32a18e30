"""Finds the configuration and the tokenizer of a model, in the same way for both entry points."""

from pathlib import Path

from bart.checkpoints.more_positions import with_positions
from bart.checkpoints.weights import StoredModel, is_checkpoint, is_fairseq, read_config
from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError
from bart.tokenization.fairseq_tokenizer import load_fairseq_tokenizer
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits

from ..io.run_files import BEST_MODEL_FOLDER, TOKENIZER_FOLDER


def load_config(config_path: str | None, model_name_or_path: str, max_positions: int | None = None) -> BartConfig:
    """Read the configuration from a JSON file, or without a file from the model.

    The model's own numbers of layers, of positions and of tokens count.

    Args:
        config_path: of the JSON file.
        model_name_or_path: of the model; ``scratch`` may have any shape.
        max_positions: positions that the model will be given; None for those that it has.

    Raises:
        InputError: There is no configuration, the model's shape differs otherwise, or it has more positions.
    """
    if config_path is None:
        config = read_config(model_name_or_path)
    else:
        config = BartConfig.from_json_file(config_path)
        if model_name_or_path != "scratch":
            config = StoredModel(model_name_or_path).config_for(config, own_sizes=True)
    return config if max_positions is None else with_positions(config, max_positions)


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
