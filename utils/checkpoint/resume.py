"""What a resumed training may do otherwise than before, and what is said about it."""

from dataclasses import replace
from pathlib import Path

from bart.configuration.configuration_bart import BartConfig
from bart.errors import InputError

from ..cli.args import TrainingArguments
from .checkpoint_io import checkpoint_step, stored_arguments

# They say how the program is started, not what the run is.
_NOT_OF_THE_RUN = {"output_dir", "overwrite_output_dir", "resume", "data_report", "needs_test", "check_disk_space"}
_TAKEN_FROM_CHECKPOINT = ("config_path", "model_name_or_path")  # by a resumed run, whatever is given


def complete_arguments(arguments: TrainingArguments, config: BartConfig, checkpoint: Path | None) -> TrainingArguments:
    """The arguments with the lengths of the configuration and, if a run is resumed, the batches that it had chosen.

    Raises InputError if a length is impossible, or if a flag of a resumed run has changed that must not change.
    """
    arguments = arguments.with_lengths_of(config)
    if checkpoint is not None:
        if arguments.auto_batch_size:
            arguments = _with_batches_of(arguments, checkpoint)
        check_unchanged(arguments, checkpoint)
    return arguments


def _with_batches_of(arguments: TrainingArguments, checkpoint: Path) -> TrainingArguments:
    """With the interrupted run's batch size and accumulation, if a step has as many examples as there."""
    stored = stored_arguments(checkpoint)
    batch_size, accumulation = stored["train_batch_size"], stored["gradient_accumulation_steps"]
    if batch_size * accumulation != arguments.train_batch_size * arguments.gradient_accumulation_steps:
        return arguments
    return replace(arguments, train_batch_size=batch_size, gradient_accumulation_steps=accumulation)


def check_unchanged(arguments: TrainingArguments, checkpoint: Path) -> None:
    """Raise InputError where a flag is not the interrupted run's and the steps already done depend on it."""
    stored = stored_arguments(checkpoint)
    for flag in arguments.fixed_on_resume():
        now = getattr(arguments, flag)
        before = stored.get(flag, now)  # an earlier version did not have every flag
        if before != now:
            raise InputError(f"--resume: --{flag} was {before} and is now {now}; it cannot change within a run")


def check_steps(total_steps: int, checkpoint: Path) -> None:
    """Raise InputError where the run is now to end before what is done already."""
    done = checkpoint_step(checkpoint)
    if total_steps < done:
        raise InputError(
            f"--resume: {checkpoint} is after step {done}, and the run is now to end after {total_steps}; give"
            f" --max_steps {done} or more (see --max_epochs, too), or another --output_dir"
        )


def changes(arguments: TrainingArguments, checkpoint: Path) -> str | None:
    """One line on the flags that are now others than the interrupted run's, which is allowed; None without any."""
    stored = stored_arguments(checkpoint)
    changed = {
        flag: f"--{flag} was {stored[flag]} and is now {now}"
        for flag, now in arguments.to_dict().items()
        if flag in stored and flag not in _NOT_OF_THE_RUN and stored[flag] != now
    }
    for flag in _TAKEN_FROM_CHECKPOINT:
        if flag in changed:
            changed[flag] += ", which is not looked at (the checkpoint has the model)"
    return f"--resume: {'; '.join(changed.values())}" if changed else None
