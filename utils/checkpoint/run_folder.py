"""The results folder of a training: whether it may be used, and what is written there beside the numbers."""

import shutil
import sys
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.whole_folder import whole_folder
from utils.checkpoint.checkpoint_io import checkpoints, newest_checkpoint
from utils.checkpoint.pretrained import BEST_MODEL_FOLDER, TOKENIZER_FOLDER
from utils.checkpoint.resume import changes
from utils.cli.args import TrainingArguments
from utils.data.report_text import short_report
from utils.data.training_data import TrainingData, TrainingInputs
from utils.io.atomic_files import make_folder
from utils.io.folder_lock import FolderLock
from utils.io.json_files import write_json
from utils.reporting.results_page.page import PAGE_FILE
from utils.runtime.hardware import software

METRICS_FILE = "metrics.json"
RUN_FILE = "run.json"
DATA_REPORT_FILE = "data_report.json"
LOGS_FOLDER = "logs"
CARD_FILE = "README.md"  # of a model, as the hub knows it
_FOLDERS = (BEST_MODEL_FOLDER, TOKENIZER_FOLDER, LOGS_FOLDER)
_TEST_FILES = ("test_generations.txt", "test_rouge.json", "test_example_scores.json")
_FILES = (METRICS_FILE, RUN_FILE, DATA_REPORT_FILE, PAGE_FILE, *_TEST_FILES)


def checkpoint_to_resume(arguments: TrainingArguments) -> Path | None:
    """The checkpoint that --resume continues from; None to start anew.

    Raises InputError where the folder holds results that the arguments neither resume nor overwrite.
    """
    folder = Path(arguments.output_dir)
    in_use = bool(checkpoints(folder)) or (folder / METRICS_FILE).exists()
    if arguments.resume:
        return newest_checkpoint(folder)
    if in_use and not arguments.overwrite_output_dir:
        raise InputError(f"{folder} holds the results of a run; give --resume, --overwrite_output_dir or another")
    return None


def open_run_folder(arguments: TrainingArguments, checkpoint: Path | None, lock: FolderLock) -> None:
    """Make the folder, without the results of an earlier run unless a ``checkpoint`` of it is resumed.

    Raises InputError where it cannot be used, or where another run has used it since the checkpoint was looked for.
    """
    folder = Path(arguments.output_dir)
    make_folder(folder, "--output_dir")
    if lock.hold() and checkpoint_to_resume(arguments) != checkpoint:
        raise InputError(f"--output_dir {folder}: another run has just used it; start again, or give another folder")
    for leftover in (*folder.glob(".*.part*"), *folder.glob(".*.old-*")):  # of a killed process
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    if checkpoint is not None:
        print(f"resuming from {checkpoint}", flush=True)
        if (changed := changes(arguments, checkpoint)) is not None:
            print(changed, flush=True)
    elif arguments.resume:
        print(f"{folder} holds no checkpoint: starting anew", flush=True)
    if checkpoint is None:
        _delete_results(folder)


def _delete_results(folder: Path) -> None:
    """Delete what a training writes, and nothing else that may be there (such as the script's joblog.log)."""
    for path in [*checkpoints(folder), *(folder / name for name in _FILES)]:
        path.unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)


def next_log_version(folder: Path) -> str:
    """A name under logs/ that no earlier start of the run has used: loggers overwrite."""
    return f"version_{len(list((folder / LOGS_FOLDER).glob('version_*')))}"


def describe_run(
    arguments: TrainingArguments, inputs: TrainingInputs, data: TrainingData, model: BartForConditionalGeneration
) -> None:
    """Write run.json, and the tokenizer beside the checkpoints to come; print what is about to be done."""
    folder = Path(arguments.output_dir)
    if not (folder / TOKENIZER_FOLDER).is_dir():  # of a resumed run it is there
        with whole_folder(folder / TOKENIZER_FOLDER) as unfinished:
            inputs.tokenizer.save_pretrained(unfinished)
    examples = {"train": len(data.train), "val": len(data.val)}
    if inputs.test is not None:
        examples["test"] = len(inputs.test)
    left_out = {split: prepared.left_out for split, prepared in data.prepared.items()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    description = {
        "command": sys.argv,
        "arguments": arguments.to_dict(),
        "config": inputs.config.to_dict(),
        "examples": examples,
        "left_out": left_out,
        "parameters": parameters,
        "trained_parameters": trained,
        "steps": data.total_steps,
        "steps_per_epoch": data.order.steps_per_epoch,
        "processes": data.order.processes,
        **software(),
    }
    write_json(folder / RUN_FILE, description)
    if any(left_out.values()):
        counts = " and ".join(f"{count:,} {split}" for split, count in left_out.items())
        print(f"left out, as their source or target is empty: {counts} pairs", flush=True)
    print(
        f"{examples['train']:,} training and {examples['val']:,} validation examples;"
        f" {trained:,} of {parameters:,} parameters trained;"
        f" {data.total_steps:,} steps, {data.order.steps_per_epoch:,} an epoch; results in {folder}",
        flush=True,
    )


def record_data_report(arguments: TrainingArguments, report: dict[str, Any]) -> None:
    """Write data_report.json; print it in short."""
    write_json(Path(arguments.output_dir) / DATA_REPORT_FILE, report)
    for line in short_report(report):
        print(line, flush=True)


def save_model(
    model: BartForConditionalGeneration, tokenizer: PreTrainedTokenizerBase, folder: Path, card: str | None = None
) -> None:
    """Write a Hugging Face folder, whole or not at all; ``card`` is its README.md."""
    with whole_folder(folder) as unfinished:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        if card is not None:
            (unfinished / CARD_FILE).write_text(card, encoding="utf-8")
