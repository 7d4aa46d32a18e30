"""Fine-tune BART for summarization, keep the best model, and evaluate it on the test split."""

import sys

from ..cli.run import run_command
from ..cli.training_args import TrainingArguments
from ..runtime.launcher import exit_with_parent, launch, this_command
from ..runtime.world import check_gpus, is_launched


def run(arguments: TrainingArguments) -> None:
    """Start a process for each GPU or, as one of them, do what the command line asks for."""
    exit_with_parent()
    if (arguments.processes.gpus or 1) > 1 and not is_launched() and not arguments.run.data_report:
        check_gpus(arguments.processes.gpus)
        sys.exit(launch(this_command(), arguments.processes.gpus))
    # Torch and Lightning take seconds to import. Up to here --help and a wrong flag are answered at once.
    from ..recipes.fine_tune import fine_tune, print_data_report

    if arguments.run.data_report:
        print_data_report(
            arguments.data, arguments.model, arguments.optimization, arguments.validation, arguments.processes
        )
    else:
        fine_tune(arguments)


def main() -> int:
    """Run the command line; returns the exit code."""
    return run_command(TrainingArguments, __doc__, run)


if __name__ == "__main__":
    sys.exit(main())
