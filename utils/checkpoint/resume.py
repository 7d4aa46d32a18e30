"""What a resumed training may do otherwise than before, and what is said about it."""

from pathlib import Path

from bart.errors import InputError
from utils.checkpoint.checkpoint_io import checkpoint_step, stored_arguments
from utils.cli.args import TrainingArguments

# They say how the program is started, not what the run is.
_NOT_OF_THE_RUN = {"output_dir", "overwrite_output_dir", "resume", "data_report", "needs_test", "check_disk_space"}
_TAKEN_FROM_CHECKPOINT = ("config_path", "model_name_or_path")  # by a resumed run, whatever is given


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
