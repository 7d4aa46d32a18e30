"""Write any model that this project reads as a Hugging Face folder, in half precision if asked for.

bash scripts/export_hf.sh results/bart_pyt/_epoch1_step2000.ckpt my_model --half
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from ..cli.options import option
from ..cli.run import run_command
from ..cli.shared_args import ALLOW_NON_FINITE_HELP


@dataclass(frozen=True)
class ExportArguments:
    model: str = option("", "Model", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    folder: str = option("", "Model", "folder to write", positional=True)
    tokenizer_name_or_path: str | None = option(
        None, "Model", "folder or hub id of the tokenizer (default: the model's own)"
    )
    allow_non_finite: bool = option(False, "Model", ALLOW_NON_FINITE_HELP)
    half: bool = option(False, "Model", "write float16 weights: half the size; they are read back as float32")

    def check(self) -> None:
        """Nothing to check together."""


def export(arguments: ExportArguments) -> None:
    """Write the folder. Raises InputError if the model, its tokenizer or the folder cannot be used."""
    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.export_model import export_model

    export_model(
        arguments.model,
        Path(arguments.folder),
        arguments.tokenizer_name_or_path,
        arguments.half,
        arguments.allow_non_finite,
    )
    print(f"Wrote {arguments.folder}.")


if __name__ == "__main__":
    sys.exit(run_command(ExportArguments, "Write a model as a Hugging Face folder.", export))
