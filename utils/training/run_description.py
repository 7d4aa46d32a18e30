"""Describes a training before it begins: in run.json, in the data report, and in a few printed lines."""

import sys
from pathlib import Path
from typing import Any

from bart.atomic_directory import atomic_directory
from bart.modeling.modeling_bart import BartForConditionalGeneration

from ..data.report_text import short_report
from ..data.training_data import RawTexts, TokenizedData
from ..io.json_files import write_json
from ..io.run_files import DATA_REPORT_FILE, RUN_FILE, TOKENIZER_FOLDER
from ..runtime.software import software


def write_run_description(
    folder: Path, flags: dict[str, Any], inputs: RawTexts, data: TokenizedData, model: BartForConditionalGeneration
) -> None:
    """Write run.json, and the tokenizer for the checkpoints to come; print the numbers of examples and steps."""
    # The tokenizer, which a resumed run has written already.
    if not (folder / TOKENIZER_FOLDER).is_dir():
        with atomic_directory(folder / TOKENIZER_FOLDER) as unfinished:
            inputs.tokenizer.save_pretrained(unfinished)

    # run.json.
    examples = {"train": len(data.train), "val": len(data.val)}
    if inputs.test is not None:
        examples["test"] = len(inputs.test)
    left_out = {split: prepared.left_out for split, prepared in data.prepared.items()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    description = {
        "command": sys.argv,
        "arguments": flags,
        "config": inputs.config.to_dict(),
        "examples": examples,
        "left_out": left_out,
        "parameters": parameters,
        "trained_parameters": trained,
        "steps": data.total_steps,
        "steps_per_epoch": data.sampler.steps_per_epoch,
        "processes": data.sampler.processes,
        # scripts/run_summarization.sh reads it.
        **({"no_test_split": True} if inputs.test_files is None and flags["task"] == "summarization" else {}),
        **software(),
    }
    write_json(folder / RUN_FILE, description)

    # The printed lines.
    if any(left_out.values()):
        counts = " and ".join(f"{count:,} {split}" for split, count in left_out.items())
        print(f"left out, as their source or target is empty: {counts} pairs", flush=True)
    print(
        f"{examples['train']:,} training and {examples['val']:,} validation examples;"
        f" {trained:,} of {parameters:,} parameters trained;"
        f" {data.total_steps:,} steps, {data.sampler.steps_per_epoch:,} an epoch; results in {folder}",
        flush=True,
    )


def record_data_report(folder: Path, report: dict[str, Any]) -> None:
    """Write data_report.json, and print a short form of it."""
    write_json(folder / DATA_REPORT_FILE, report)
    for line in short_report(report):
        print(line, flush=True)
