"""Find search settings on the validation split, and write a configuration that has them."""

import sys

from ..cli.run import run_command
from ..cli.tuning_args import TuningArguments


def run(arguments: TuningArguments) -> None:
    """Do what the command line asks for."""
    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.tune_search import tune_search

    tune_search(arguments)


if __name__ == "__main__":
    sys.exit(run_command(TuningArguments, __doc__, run))
