"""Compares the flags of a resumed training with those of the interrupted run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from bart.errors import InputError, printable

from ..cli.training_args import OptimizationSettings, TrainingArguments
from .checkpoint_io import checkpoint_step, stored_arguments

# These flags say how the program is started, not what it computes.
_NOT_OF_THE_RUN = {"output_dir", "overwrite_output_dir", "resume", "data_report", "needs_test", "check_disk_space"}
_COMPARED_BY_CONTENT = ("add_tokens", "pairs_dir")  # elsewhere: the same file has another path in another directory
_TAKEN_FROM_RUN = ("config_path", "model_name_or_path", "tokenizer_name_or_path")  # a resumed run ignores these flags
# What versions without a flag did, if that is not its default; None if that cannot be known, or is found out elsewhere.
_BEFORE_THE_FLAG = {"batch_shapes": "exact", "add_tokens": None, "lora": None, "max_positions": None}


def with_batches_of(optimization: OptimizationSettings, checkpoint: Path) -> OptimizationSettings:
    """Return the settings with the batch size that --auto_batch_size chose for the interrupted run.

    If the number of examples in a step differs from the interrupted run's, the settings are returned unchanged.
    """
    stored = stored_arguments(checkpoint)
    batch_size, accumulation = (stored.get(name) for name in ("train_batch_size", "gradient_accumulation_steps"))
    if not isinstance(batch_size, int) or not isinstance(accumulation, int):
        raise InputError(f"{checkpoint}: is not a checkpoint of this project; give another folder")
    if batch_size * accumulation != optimization.train_batch_size * optimization.gradient_accumulation_steps:
        return optimization
    return replace(optimization, train_batch_size=batch_size, gradient_accumulation_steps=accumulation)


def with_batch_shapes(
    optimization: OptimizationSettings, on_gpu: bool, checkpoint: Path | None
) -> OptimizationSettings:
    """Resolve ``auto`` of --batch_shapes: as in the run that is resumed, else few on a GPU."""
    if optimization.batch_shapes != "auto":
        return optimization
    chosen = "few" if on_gpu else "exact"
    return replace(optimization, batch_shapes=chosen if checkpoint is None else _stored(checkpoint)["batch_shapes"])


def check_unchanged(flags: dict[str, Any], checkpoint: Path) -> None:
    """Raise InputError if one of ``flags`` differs from the interrupted run's and the steps done depend on it."""
    stored = _stored(checkpoint)
    for flag, default in TrainingArguments.fixed_on_resume().items():
        if flag not in flags:
            continue
        now = flags[flag]
        # A version that lacked the flag did as its default says. Some defaults stand for what is found out.
        before = stored.get(flag, now if default in (None, "auto") else default)
        if flag in _COMPARED_BY_CONTENT and None not in (before, now):
            continue
        if before != now:
            raise InputError(f"--resume: {_change(flag, before, now)}; it cannot change within a run")


def _change(flag: str, before: Any, now: Any) -> str:
    return f"--{flag} was {printable(str(before))} and is now {now}"


def _stored(checkpoint: Path) -> dict[str, Any]:
    return {**_BEFORE_THE_FLAG, **stored_arguments(checkpoint)}


def check_steps(total_steps: int, checkpoint: Path) -> None:
    """Raise InputError if the run would end before the checkpoint's step."""
    done = checkpoint_step(checkpoint)
    if total_steps < done:
        raise InputError(
            f"--resume: {checkpoint} is after step {done}, and the run is now to end after {total_steps}; give"
            f" --max_steps {done} or more (see --max_epochs, too), or another --output_dir"
        )


def changes(flags: dict[str, Any], checkpoint: Path) -> str | None:
    """Return a line that lists the flags that differ from the interrupted run's; None if no flag differs.

    Flags that must not differ are refused by ``check_unchanged`` before.
    """
    stored = stored_arguments(checkpoint)
    changed = {
        flag: _change(flag, stored[flag], now)
        for flag, now in flags.items()
        if flag in stored and flag not in _NOT_OF_THE_RUN and stored[flag] != now
    }
    for flag in _TAKEN_FROM_RUN:
        if flag in changed:
            changed[flag] += ", which is ignored (the results folder has the run's own)"
    return f"--resume: {'; '.join(changed.values())}" if changed else None
