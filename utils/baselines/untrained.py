"""The model that a training from scratch begins with, as a Hugging Face folder for run_eval.py.

python -m utils.baselines.untrained configs/config_tiny.json data/docstrings/tokenizer results/untrained/model
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from bart.configuration.configuration_bart import BartConfig
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.tokenization.tokenization_bart import BartTokenizer, check_fits
from bart.whole_folder import whole_folder
from utils.command_line import at_least, option, run_command


@dataclass
class UntrainedArguments:
    config: str = option("", "Model", "JSON configuration of the model", positional=True)
    tokenizer: str = option("", "Model", "folder or hub id of its tokenizer", positional=True)
    folder: str = option("", "Model", "folder to write", positional=True)
    seed: int = option(42, "Model", "as finetune.py's: the same seed gives the same weights", check=at_least(0))

    def check(self) -> None:
        """Nothing to check together."""


def save_untrained_model(arguments: UntrainedArguments) -> None:
    """Write the model and its tokenizer. Raises InputError where the configuration or tokenizer cannot be used."""
    config = BartConfig.from_json_file(arguments.config)
    tokenizer = BartTokenizer.from_pretrained(arguments.tokenizer)
    check_fits(tokenizer, config, arguments.tokenizer)
    torch.manual_seed(arguments.seed)
    model = BartForConditionalGeneration(config)
    with whole_folder(Path(arguments.folder)) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)


if __name__ == "__main__":
    sys.exit(run_command(UntrainedArguments, "Save a model with random weights.", save_untrained_model))
