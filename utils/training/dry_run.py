"""Estimates the time, memory and disk space that a training will take, from a few of its steps."""

import resource
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from bart.out_of_memory import out_of_memory_as

from ..checkpoint.disk_space import checkpoints_at_once, free_space, models_at_the_end
from ..cli.training_args import RunSettings, ValidationSettings
from ..data.batch_sampler import BatchIndices, LengthBucketSampler
from ..data.loaders import batch_loader, validation_batches
from ..data.training_data import TokenizedData
from ..runtime.world import WorldInfo
from .callbacks.step_timer import StepTimer
from .module import SummarizationModule

_TYPICAL_STEPS = 6


def dry_run(
    module: SummarizationModule,
    data: TokenizedData,
    trainer_kwargs: dict[str, Any],
    validation: ValidationSettings,
    run: RunSettings,
    num_workers: int,
    world: WorldInfo,
) -> list[str]:
    """Take a few steps, and estimate from them what the training will take. Writes to no results folder.

    Args:
        trainer_kwargs: the result of ``shared_trainer_kwargs``.

    Returns:
        The lines of the estimate.

    Raises:
        OutOfMemory: if the largest batches do not fit.
    """
    # A few training steps and validation batches, the largest among them.
    steps, clock = steps_to_try(data.sampler), StepTimer()
    val_batches = validation_batches(
        data.val, validation.eval_batch_size, world.processes, world.rank, data.sampler.multiples
    )
    train_loader, val_loader = (
        batch_loader(dataset, batches, num_workers, world.on_gpu)
        for dataset, batches in (
            (data.train, batches_of(data.sampler, steps)),
            (data.val, longest_and_median(val_batches)),
        )
    )

    # Lightning takes them, with the time stopped by a callback.
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(
            **trainer_kwargs,
            max_steps=len(steps),
            callbacks=[clock],
            logger=False,
            enable_checkpointing=False,
            num_sanity_val_steps=0,
            default_root_dir=scratch,
        )
        with out_of_memory_as(
            "--dry_run: the largest batches do not fit into memory; lower --train_batch_size or "
            "--eval_batch_size and raise --gradient_accumulation_steps, or give a lower --max_source_length"
        ):
            trainer.fit(module, train_loader, val_loader)

    # The forecast for all steps.
    measured = Measured(clock.step_seconds, clock.validation_seconds, *sizes_of(module.model, trainer.optimizers[0]))
    return list(forecast(validation, run, data, len(val_batches), world.on_gpu, measured))


@dataclass(frozen=True)
class Measured:
    """Times and sizes measured in the steps that were tried."""

    step_seconds: list[float]  # of each step that ``steps_to_try`` chooses
    validation_seconds: list[float]  # of the batches that ``longest_and_median`` chooses
    checkpoint_bytes: int
    model_bytes: int


def steps_to_try(sampler: LengthBucketSampler) -> list[int]:
    """Choose steps of the first epoch: first the one with the most tokens, for the memory, then typical ones.

    The typical steps are spread evenly over all steps sorted by tokens, so that their mean time is close to the mean
    time of all steps.
    """
    lengths = sampler.source_lengths + sampler.target_lengths
    by_tokens = np.argsort([lengths[indices].sum() for indices in sampler.steps(0)], kind="stable")
    places = (np.arange(_TYPICAL_STEPS) + 0.5) / _TYPICAL_STEPS * len(by_tokens)
    return [int(by_tokens[-1]), *by_tokens[places.astype(int)].tolist()]


def batches_of(sampler: LengthBucketSampler, steps: list[int]) -> list[BatchIndices]:
    """List this process's micro-batches of the given steps, in order."""
    sizes = ((step * sampler.accumulation, (step + 1) * sampler.accumulation) for step in steps)
    return list(chain.from_iterable(sampler.batches(first, end) for first, end in sizes))


def longest_and_median(batches: list[BatchIndices]) -> list[BatchIndices]:
    """Return the longest batch and the one of median length, of batches sorted by length, longest first."""
    return [batches[0], batches[len(batches) // 2]]


def sizes_of(model: torch.nn.Module, optimizer: Optimizer) -> tuple[int, int]:
    """Return the bytes of a checkpoint, and of the model alone. The optimizer must have taken a step."""
    model_bytes = sum(map(_bytes_of, chain(model.parameters(), model.buffers())))  # tied tensors count once
    states = (value for state in optimizer.state.values() for value in state.values())
    return model_bytes + sum(_bytes_of(value) for value in states if isinstance(value, torch.Tensor)), model_bytes


def forecast(
    validation: ValidationSettings,
    run: RunSettings,
    data: TokenizedData,
    val_batches: int,
    on_gpu: bool,
    measured: Measured,
) -> Iterator[str]:
    """Yield the lines of the estimate.

    Args:
        val_batches: number of batches of a validation.
    """
    # Steps and epochs.
    sampler, steps = data.sampler, data.total_steps
    examples = len(data.train)
    yield (
        f"steps     {steps:,} of about {examples / sampler.steps_per_epoch:,.0f} examples:"
        f" {steps / sampler.steps_per_epoch:.2f} epochs of {examples:,} examples"
    )

    # Time: the mean of the typical steps for all steps, and the validations.
    first, *typical = measured.step_seconds
    interval = min(sampler.validation_interval(validation.val_check_interval), steps * sampler.accumulation)
    validations = -(-steps * sampler.accumulation // interval)
    validation_seconds = measured.validation_seconds[-1] * val_batches
    total = fmean(typical) * steps + validation_seconds * validations
    yield (
        f"time      {_clock(total)} until the last step ({fmean(typical):.3g} s a step: {min(typical):.3g} to"
        f" {max(typical):.3g}, the first one {first:.3g}; {validations:,} validations of {_clock(validation_seconds)}),"
        " less if early stopping ends it; the evaluation of the test split was not tried and comes on top"
    )

    # Memory and disk.
    yield f"memory    {_memory(on_gpu)}, with the largest batches"
    kept = checkpoints_at_once(run.save_top_k, run.average_checkpoints)
    models = models_at_the_end(run.average_checkpoints)
    needed = kept * measured.checkpoint_bytes + models * measured.model_bytes
    final = "the final model" if models == 1 else f"{models} final models"
    free = free_space(Path(run.output_dir))
    yield (
        f"disk      {_gigabytes(needed)} GB at most: {kept} checkpoints of {_gigabytes(measured.checkpoint_bytes)} GB,"
        f" {final} of {_gigabytes(measured.model_bytes)} GB; {_gigabytes(free)} GB are free"
    )
    if needed > free:
        yield f"warning: the disk of --output_dir {run.output_dir} is too small"


def _bytes_of(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _memory(on_gpu: bool) -> str:
    """Describe the peak memory of this process so far."""
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
