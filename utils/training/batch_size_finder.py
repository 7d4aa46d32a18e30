"""Finds the largest batch size that fits into memory, before the training begins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from bart.out_of_memory import is_out_of_memory

from ..cli.training_args import MixedPrecisionSettings, OptimizationSettings
from ..data.batch_sampler import LengthBucketSampler
from ..runtime.gpu_memory import free_unused_memory
from ..runtime.world import WorldInfo
from .memory_estimate import WEIGHT_BYTES, MemoryPlan, activation_bytes, half_copy_bytes, memory_plan, state_bytes

_CONTROL_GROUP = Path("/sys/fs/cgroup")
_USABLE = 0.85  # share of the memory to fill: the rest is for fragmentation and for what the formula leaves out


def fit_batch(
    optimization: OptimizationSettings,
    precision: MixedPrecisionSettings,
    strategy: str,
    model: BartForConditionalGeneration,
    sampler: LengthBucketSampler,
    world: WorldInfo,
) -> tuple[OptimizationSettings, LengthBucketSampler]:
    """Find the largest batch size that fits into memory and divides the examples of a step, and print it.

    A formula decides whether a batch fits; on a single GPU a trial does.

    Args:
        strategy: "ddp" or "fsdp".

    Returns:
        The settings and the sampler with this batch size, and with as many examples in a step as before.

    Raises:
        InputError: if not even one example fits.
    """
    # The largest batch size by formula, or by trial. R-Drop predicts every target twice.
    copies = 2 if optimization.r_drop > 0 else 1
    examples = optimization.train_batch_size * optimization.gradient_accumulation_steps
    longest = sampler.longest
    plan = memory_plan(model, precision.is_mixed)
    usable = int(_USABLE * _memory(world)) - _state_of_process(strategy, plan, world)
    sizes = divisors(examples)
    batch_size = largest_that_fits(sizes, lambda size: activation_bytes(plan, copies * size, *longest) <= usable)
    how = "by formula"
    if world.on_gpu and world.processes == 1:
        batch_size = _largest_by_trial(optimization.label_smoothing, precision, model, sizes, longest, copies)
        how = "by trial"
    if batch_size is None:
        raise InputError(
            f"--auto_batch_size: not one example of {longest[0]} and {longest[1]} tokens fits into memory; lower "
            "--max_source_length, or give --gradient_checkpointing"
        )

    # The settings that follow from it.
    accumulation = examples // batch_size
    if world.rank == 0:
        print(
            f"batches of {batch_size} {how} (longest: {longest[0]} and {longest[1]} tokens), {accumulation} in a step",
            flush=True,
        )
    fitting = replace(optimization, train_batch_size=batch_size, gradient_accumulation_steps=accumulation)
    return fitting, replace(sampler, batch_size=batch_size, accumulation=accumulation)


def divisors(number: int) -> list[int]:
    """List the divisors of a number in rising order."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """Return the largest of rising ``sizes`` for which ``fits`` holds, None if there is none.

    If a size fits, all smaller ones must fit too: the search is binary.
    """
    low, high = 0, len(sizes)  # sizes[:low] fit, sizes[high:] do not
    while low < high:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            low = middle + 1
        else:
            high = middle
    return sizes[low - 1] if low > 0 else None


def available_memory() -> int:
    """Return the bytes of memory that are free for this process, on the machine and in its control group."""
    available, limit, used = _machine_memory("MemAvailable"), _group_limit(), _CONTROL_GROUP / "memory.current"
    if limit is None or not used.exists():
        return available
    return min(available, limit - int(used.read_text(encoding="utf-8")))


def total_memory() -> int:
    """Return the bytes of memory of the machine, or of this process's control group if that has less."""
    total, limit = _machine_memory("MemTotal"), _group_limit()
    return total if limit is None else min(total, limit)


def _machine_memory(entry: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    return int(lines[entry].split()[0]) * 1024


def _group_limit() -> int | None:
    limit = _CONTROL_GROUP / "memory.max"
    text = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return None if text == "max" else int(text)


def _memory(world: WorldInfo) -> int:
    """Return the bytes of memory for one process. Processes on equal machines get equal numbers at any time."""
    if world.on_gpu:  # the whole GPU: no process has used it yet
        devices = range(torch.cuda.device_count())
        return min(torch.cuda.get_device_properties(device).total_memory for device in devices)
    if world.processes > 1:
        return total_memory() // world.processes_per_machine
    return available_memory()


def _state_of_process(strategy: str, plan: MemoryPlan, world: WorldInfo) -> int:
    """Return the bytes that weights, gradients and optimizer will take in addition to the model in memory."""
    state = state_bytes(plan)
    if strategy == "fsdp":
        # Not sharded are the half-precision copies of the weights that the backward pass reads and, at the same time,
        # the embeddings and their gradient.
        in_full = half_copy_bytes(plan) + 2 * WEIGHT_BYTES * plan.config.vocab_size * plan.config.d_model
        return (state - half_copy_bytes(plan)) // world.processes + in_full
    return state if world.on_gpu or world.processes > 1 else state - WEIGHT_BYTES * plan.parameters


def _largest_by_trial(
    label_smoothing: float,
    precision: MixedPrecisionSettings,
    model: BartForConditionalGeneration,
    sizes: Sequence[int],
    longest: tuple[int, int],
    copies: int,
) -> int | None:
    """Return the largest batch size whose forward and backward pass fit on the GPU beside an optimizer's state.

    Each example is computed ``copies`` times. Leaves the model on the CPU, and the random number generators as they
    were.
    """

    gpu = torch.device("cuda")

    def fits(size: int) -> bool:
        free_unused_memory(gpu)  # of a trial that failed
        try:
            _try_batch(label_smoothing, precision, model.cuda(), copies * size, longest)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return False
        finally:
            model.zero_grad()
        return True

    with torch.random.fork_rng(devices=[torch.cuda.current_device()]):
        found = largest_that_fits(sizes, fits)

    # Leave no trace of the trials on the GPU, nor in the peak memory that is reported later.
    model.cpu()
    free_unused_memory(gpu)
    torch.cuda.reset_peak_memory_stats()
    return found


def _try_batch(
    label_smoothing: float,
    precision: MixedPrecisionSettings,
    model: BartForConditionalGeneration,
    size: int,
    longest: tuple[int, int],
) -> None:
    """Run one forward and backward pass, with as much further memory in use as Adam's two moments take."""
    device = model.final_logits_bias.device
    moments = [torch.empty(2, *weight.shape, device=device) for weight in model.parameters() if weight.requires_grad]
    sources, targets = (torch.full((size, length), 5, device=device) for length in longest)
    mask = torch.ones_like(sources)
    mask[:, -1] = 0  # with padding, as in most batches
    dtype = torch.float16 if precision.fp16 else torch.bfloat16
    with torch.autocast(device.type, dtype, enabled=precision.is_mixed):
        loss = model.loss_sum(sources, mask, targets, label_smoothing)
    loss.backward()
    del moments
