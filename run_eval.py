"""Generate summaries of a split with a trained model and score them against the targets."""

import sys

from utils.cli.evaluation_args import EvaluationArguments
from utils.cli.run import run_command
from utils.runtime.launcher import exit_with_parent


def run(arguments: EvaluationArguments) -> None:
    """Do what the command line asks for."""
    exit_with_parent()
    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    from utils.recipes.evaluate import evaluate_model

    evaluate_model(arguments)


if __name__ == "__main__":
    sys.exit(run_command(EvaluationArguments, __doc__, run))
