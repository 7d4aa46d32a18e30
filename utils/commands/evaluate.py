"""Generate summaries of a split with a trained model and score them against the targets."""

import sys

from ..cli.evaluation_args import EvaluationArguments
from ..cli.run import run_command
from ..runtime.launcher import exit_with_parent


def run(arguments: EvaluationArguments) -> None:
    """Do what the command line asks for."""
    exit_with_parent()
    # Torch and transformers take seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.evaluate import evaluate_model

    evaluate_model(arguments)


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_command(EvaluationArguments, __doc__, run)


if __name__ == "__main__":
    sys.exit(main())
