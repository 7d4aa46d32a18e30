"""Any model that this project reads as a Hugging Face folder, in half precision where that is wanted.

python -m utils.export_model results/bart_pyt/_epoch1_step2000.ckpt my_model --half
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.modeling.weights import read_config
from utils.command_line import option, run_command
from utils.loading import load_tokenizer
from utils.run_folder import save_model


@dataclass
class ExportArguments:
    model: str = option("", "Model", "a .ckpt, a Hugging Face folder or a hub id", positional=True)
    folder: str = option("", "Model", "folder to write", positional=True)
    half: bool = option(False, "Model", "write float16 weights: half the size, read back as float32")

    def check(self) -> None:
        """Nothing to check together."""


def export_model(arguments: ExportArguments) -> None:
    """Write the folder, whole or not at all. Raises InputError where the model or its tokenizer cannot be used."""
    tokenizer = load_tokenizer(None, arguments.model, read_config(arguments.model))
    model = BartForConditionalGeneration.from_pretrained(arguments.model)
    save_model(model.half() if arguments.half else model, tokenizer, Path(arguments.folder))
    print(f"Wrote {arguments.folder}.")


if __name__ == "__main__":
    sys.exit(run_command(ExportArguments, "Write a model as a Hugging Face folder.", export_model))
