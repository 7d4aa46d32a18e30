"""Write a smaller model: some layers of a fine-tuned one, to be fine-tuned again.

bash scripts/make_student.sh results/bart_pyt/best_tfmr my_student --decoder_layers 6
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from bart.errors import InputError

from ..cli.options import at_least, option
from ..cli.run import run_command
from ..cli.shared_args import ALLOW_NON_FINITE_HELP


@dataclass(frozen=True)
class StudentArguments:
    model: str = option("", "Teacher", "a .ckpt, a model.pt, a Hugging Face folder or a hub id", positional=True)
    folder: str = option("", "Student", "folder to write, which must not be there yet", positional=True)
    encoder_layers: int | None = option(
        None, "Student", "encoder layers (default: all of the teacher's)", check=at_least(1)
    )
    decoder_layers: int | None = option(
        None, "Student", "decoder layers (default: all of the teacher's)", check=at_least(1)
    )
    tokenizer_name_or_path: str | None = option(
        None, "Teacher", "folder or hub id of the tokenizer (default: the teacher's own)"
    )
    allow_non_finite: bool = option(False, "Teacher", ALLOW_NON_FINITE_HELP)

    def check(self) -> None:
        """Raise InputError if no number of layers is given."""
        if self.encoder_layers is None and self.decoder_layers is None:
            raise InputError("give --encoder_layers, --decoder_layers or both: how many layers the student has")


def make(arguments: StudentArguments) -> None:
    """Write the folder. Raises InputError if the teacher, its tokenizer or the folder cannot be used."""
    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.make_student import make_student

    said = make_student(
        arguments.model,
        Path(arguments.folder),
        arguments.encoder_layers,
        arguments.decoder_layers,
        arguments.tokenizer_name_or_path,
        arguments.allow_non_finite,
    )
    print(f"Wrote {arguments.folder}: {said}.")


if __name__ == "__main__":
    sys.exit(run_command(StudentArguments, "Write a smaller model, to be fine-tuned.", make))
