"""What a training will take, told from a few of its steps."""

import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from statistics import fmean

import numpy as np
import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.out_of_memory import out_of_memory_as

from ..checkpoint.disk_space import checkpoints_at_once, free_space
from ..cli.args import TrainingArguments
from ..data.batch_sampler import BatchIndices, LengthBucketSampler, batch_loader
from ..data.examples import validation_batches
from ..data.report import data_report
from ..data.report_text import short_report
from ..data.training_data import RawTexts, TokenizedData
from ..runtime.world import WorldInfo
from .callbacks.step_timer import StepTimer
from .module import SummarizationModule
from .trainer import trainer_kwargs

_TYPICAL_STEPS = 6


def dry_run(
    arguments: TrainingArguments,
    inputs: RawTexts,
    data: TokenizedData,
    world: WorldInfo,
    model: BartForConditionalGeneration,
) -> None:
    """Take a few steps and say what all of them will take. Writes to no results folder."""
    steps, clock = steps_to_try(data.order), StepTimer()
    module = SummarizationModule(model, arguments, data.total_steps, inputs.tokenizer, data.val_references)
    val_batches = validation_batches(data.val, arguments.eval_batch_size, world.processes, world.rank)
    train_loader, val_loader = (
        batch_loader(dataset, batches, arguments.num_workers, world.on_gpu)
        for dataset, batches in (
            (data.train, batches_of(data.order, steps)),
            (data.val, longest_and_middling(val_batches)),
        )
    )
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(
            **trainer_kwargs(arguments, inputs.config, world),
            max_steps=len(steps),
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
        )
        with out_of_memory_as(
            "--dry_run: the largest batches need more memory than there is; lower --train_batch_size or "
            "--eval_batch_size and raise --gradient_accumulation_steps, or give a lower --max_source_length"
        ):
            trainer.fit(module, train_loader, val_loader)
    measured = Measured(clock.step_seconds, clock.validation_seconds, *sizes_of(module.model, trainer.optimizers[0]))
    if world.rank == 0:
        lines = forecast(arguments, data, len(val_batches), world.on_gpu, measured)
        print("\n".join([*short_report(data_report(arguments, inputs, data)), *lines]))
        print("This was a dry run: nothing was trained, and nothing was written to --output_dir.")


@dataclass(frozen=True)
class Measured:
    """What the steps took."""

    step_seconds: list[float]  # of each step of ``steps_to_try``
    validation_seconds: list[float]  # of the longest batch and one of middling length
    checkpoint_bytes: int
    model_bytes: int


def steps_to_try(order: LengthBucketSampler) -> list[int]:
    """Steps of the first epoch: the one with most tokens, for memory; then some from the shortest to the longest.

    The latter are spread evenly over all steps sorted by tokens, so that their mean is the mean of the epoch's.
    """
    lengths = order.source_lengths + order.target_lengths
    by_tokens = np.argsort([lengths[rows].sum() for rows in order.steps(0)], kind="stable")
    places = (np.arange(_TYPICAL_STEPS) + 0.5) / _TYPICAL_STEPS * len(by_tokens)
    return [int(by_tokens[-1]), *by_tokens[places.astype(int)].tolist()]


def batches_of(order: LengthBucketSampler, steps: list[int]) -> list[BatchIndices]:
    """This process's micro-batches of some steps, one step after another."""
    sizes = ((step * order.accumulation, (step + 1) * order.accumulation) for step in steps)
    return list(chain.from_iterable(order.batches(first, end) for first, end in sizes))


def longest_and_middling(batches: list[BatchIndices]) -> list[BatchIndices]:
    """Two batches of all, which are sorted by length, the longest first."""
    return [batches[0], batches[len(batches) // 2]]


def sizes_of(model: torch.nn.Module, optimizer: Optimizer) -> tuple[int, int]:
    """Bytes of a checkpoint, and of the model alone. The optimizer must have taken a step."""
    model_bytes = sum(map(_bytes_of, chain(model.parameters(), model.buffers())))  # each once, also where tied
    states = (value for state in optimizer.state.values() for value in state.values())
    return model_bytes + sum(_bytes_of(value) for value in states if isinstance(value, torch.Tensor)), model_bytes


def forecast(
    arguments: TrainingArguments, data: TokenizedData, val_batches: int, on_gpu: bool, measured: Measured
) -> Iterator[str]:
    """What it will take, line by line. ``val_batches`` is the number of batches of a validation."""
    order, steps = data.order, data.total_steps
    examples = len(data.train)
    yield (
        f"steps     {steps:,} of about {examples / order.steps_per_epoch:,.0f} examples:"
        f" {steps / order.steps_per_epoch:.2f} epochs of {examples:,} examples"
    )
    first, *typical = measured.step_seconds
    interval = min(order.validation_interval(arguments.val_check_interval), steps * order.accumulation)
    validations = -(-steps * order.accumulation // interval)
    of_validation = measured.validation_seconds[-1] * val_batches
    total = fmean(typical) * steps + of_validation * validations
    yield (
        f"time      {_clock(total)} until the last step ({fmean(typical):.3g} s a step: {min(typical):.3g} to"
        f" {max(typical):.3g}, the first one {first:.3g}; {validations:,} validations of {_clock(of_validation)}), less"
        " where early stopping ends it; then the evaluation of the test split, which was not tried"
    )
    yield f"memory    {_memory(on_gpu)}, with the largest batches"
    kept = checkpoints_at_once(arguments)
    needed = kept * measured.checkpoint_bytes + measured.model_bytes
    free = free_space(Path(arguments.output_dir))
    yield (
        f"disk      {_gigabytes(needed)} GB at most: {kept} checkpoints of {_gigabytes(measured.checkpoint_bytes)} GB,"
        f" the final model of {_gigabytes(measured.model_bytes)} GB; {_gigabytes(free)} GB are free"
    )
    if needed > free:
        yield f"warning: the disk of --output_dir {arguments.output_dir} is too small"


def _bytes_of(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _memory(on_gpu: bool) -> str:
    """The most that this process has taken so far."""
    if on_gpu:
        total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
        taken = torch.cuda.max_memory_reserved()
        return f"{_gigabytes(taken)} of {_gigabytes(total)} GB of each GPU ({taken / total:.0%})"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{_gigabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)} GB for each process"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g}"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))) if seconds >= 10 else f"{seconds:.2g} s"
