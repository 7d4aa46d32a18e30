"""The results folder of a training: checks whether it may be used, and deletes the results of an earlier run."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bart.errors import InputError

from ..cli.training_args import RunSettings
from ..io.atomic_files import make_folder
from ..io.folder_lock import FolderLock
from ..io.run_files import (
    ADAPTER_FOLDER,
    AVERAGED_MODEL_FOLDER,
    AVERAGED_RESULTS_FOLDER,
    BEST_MODEL_FOLDER,
    DATA_REPORT_FILE,
    LOGS_FOLDER,
    METRICS_FILE,
    PAGE_FILE,
    RUN_FILE,
    TOKENIZER_FOLDER,
    evaluation_files,
    journal_pattern,
)
from .checkpoint_io import checkpoints, newest_checkpoint
from .resume import changes

_OF_AVERAGE = (AVERAGED_MODEL_FOLDER, AVERAGED_RESULTS_FOLDER)
_FOLDERS = (BEST_MODEL_FOLDER, ADAPTER_FOLDER, TOKENIZER_FOLDER, LOGS_FOLDER, *_OF_AVERAGE)
_FILES = (METRICS_FILE, RUN_FILE, DATA_REPORT_FILE, PAGE_FILE, *evaluation_files("test"))


def checkpoint_to_resume(run: RunSettings) -> Path | None:
    """Find the checkpoint that --resume continues from; returns None if a new run begins.

    Raises InputError if the folder holds results that the flags neither resume nor overwrite.
    """
    folder = Path(run.output_dir)
    in_use = bool(checkpoints(folder)) or (folder / METRICS_FILE).exists()
    if run.resume:
        return newest_checkpoint(folder)
    if in_use and not run.overwrite_output_dir:
        raise InputError(
            f"{folder} holds the results of a run; give --resume, --overwrite_output_dir or another --output_dir"
        )
    return None


def open_run_folder(run: RunSettings, flags: dict[str, Any], checkpoint: Path | None, lock: FolderLock) -> None:
    """Make the folder, and delete the results of an earlier run unless it is resumed.

    Prints which checkpoint is resumed, and which flags have changed since.

    Args:
        flags: every flag of the run, by name.
        checkpoint: what ``checkpoint_to_resume`` has found.

    Raises:
        InputError: if the folder cannot be used, or if another run has used it since the checkpoint was found.
    """
    # The folder, for this run alone, without the unfinished files of a process that was killed.
    folder = Path(run.output_dir)
    make_folder(folder, "--output_dir")
    if lock.hold() and checkpoint_to_resume(run) != checkpoint:
        raise InputError(f"--output_dir {folder}: another run has just used it; start again, or give another folder")
    for leftover in (*folder.glob(".*.part*"), *folder.glob(".*.old-*")):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()

    # The earlier run: resumed, or deleted.
    if checkpoint is not None:
        print(f"resuming from {checkpoint}", flush=True)
        if (changed := changes(flags, checkpoint)) is not None:
            print(changed, flush=True)
    elif run.resume:
        print(f"{folder} holds no checkpoint: starting anew", flush=True)
    if checkpoint is None:
        _delete_results(folder)
    elif run.average_checkpoints == 0:  # an average of an earlier end would not belong to this one
        _delete_folders(folder, _OF_AVERAGE)


def _delete_results(folder: Path) -> None:
    """Delete the files that a training writes; other files stay, such as the script's joblog.log."""
    files = [folder / name for name in _FILES]
    for path in [*checkpoints(folder), *files, *folder.glob(journal_pattern("test"))]:
        path.unlink(missing_ok=True)
    _delete_folders(folder, _FOLDERS)


def _delete_folders(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)


def next_log_version(folder: Path) -> str:
    """Return a name under logs/ that no earlier start of the run has used: loggers overwrite what they find."""
    return f"version_{len(list((folder / LOGS_FOLDER).glob('version_*')))}"
