"""Any model that this project reads as a Hugging Face folder, in half precision where that is wanted.

bash scripts/export_hf.sh results/bart_pyt/_epoch1_step2000.ckpt my_model --half
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bart.checkpoints.weights import read_config
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..checkpoint.export import save_model
from ..checkpoint.pretrained import load_tokenizer
from ..cli.options import option
from ..cli.run import run_command
from ..reporting.model_card import model_card


@dataclass
class ExportArguments:
    model: str = option("", "Model", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    folder: str = option("", "Model", "folder to write", positional=True)
    tokenizer_name_or_path: str | None = option(
        None, "Model", "folder or hub id of the tokenizer (default: the model's own)"
    )
    half: bool = option(False, "Model", "write float16 weights: half the size, read back as float32")

    def check(self) -> None:
        """Nothing to check together."""


def export_model(arguments: ExportArguments) -> None:
    """Write the folder, whole or not at all. Raises InputError where the model or its tokenizer cannot be used."""
    target = Path(arguments.folder)
    if target.exists() and not (target / "config.json").is_file() and not _is_empty(target):
        raise InputError(f"{target} is there, and is no model that could be replaced; give a new folder")
    config = read_config(arguments.model)
    tokenizer = load_tokenizer(arguments.tokenizer_name_or_path, arguments.model, config)
    model = BartForConditionalGeneration.from_pretrained(arguments.model)
    card = model_card(arguments.model, config, sum(parameter.numel() for parameter in model.parameters()))
    save_model(model.half() if arguments.half else model, tokenizer, target, card)
    print(f"Wrote {arguments.folder}.")


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and next(folder.iterdir(), None) is None


if __name__ == "__main__":
    sys.exit(run_command(ExportArguments, "Write a model as a Hugging Face folder.", export_model))
