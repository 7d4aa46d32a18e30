"""The largest batch that fits into memory, found before the training begins."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from utils.activation_memory import MemoryPlan, activation_bytes, state_bytes
from utils.args import TrainingArguments
from utils.batching import TrainingOrder
from utils.distributed import Placement
from utils.padding import padded_length

_USABLE = 0.85  # of the memory: the rest is for what the formula leaves out, and for what cannot be used between blocks


def fit_batch(
    arguments: TrainingArguments, model: BartForConditionalGeneration, order: TrainingOrder, placement: Placement
) -> TrainingOrder:
    """The same order in batches that fit, with as many examples in a step; says what it chose.

    Sets both numbers in ``arguments``, too. Of batch sizes that divide a step's examples, the largest that fits by
    formula; on a single GPU a trial has the last word. Raises InputError where not even one example fits.
    """
    examples = arguments.train_batch_size * arguments.gradient_accumulation_steps
    longest = int(padded_length(order.source_lengths.max())), int(padded_length(order.target_lengths.max()))
    plan = _plan(arguments, model)
    usable = int(_USABLE * _memory(placement)) - state_bytes(plan)
    sizes = divisors(examples)
    batch_size = largest_that_fits(sizes, lambda size: activation_bytes(plan, size, *longest) <= usable)
    how = "by formula"
    if placement.on_gpu and placement.processes == 1:
        batch_size, how = _tried(arguments, model, sizes, longest), "by trial"
    if batch_size is None:
        raise InputError(
            f"--auto_batch_size: not one example of {longest[0]} and {longest[1]} tokens fits into memory; lower "
            "--max_source_length, or give --gradient_checkpointing"
        )
    arguments.train_batch_size, arguments.gradient_accumulation_steps = batch_size, examples // batch_size
    if placement.rank == 0:
        print(
            f"batches of {batch_size} {how} (longest: {longest[0]} and {longest[1]} tokens), "
            f"{arguments.gradient_accumulation_steps} in a step",
            flush=True,
        )
    return replace(order, batch_size=batch_size, accumulation=arguments.gradient_accumulation_steps)


def divisors(number: int) -> list[int]:
    """In rising order."""
    return [candidate for candidate in range(1, number + 1) if number % candidate == 0]


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool]) -> int | None:
    """Of rising ``sizes`` the largest for which ``fits``; where one does, smaller ones do. None where none does."""
    low, high = 0, len(sizes)  # sizes[:low] fit, sizes[high:] do not
    while low < high:
        middle = (low + high) // 2
        if fits(sizes[middle]):
            low = middle + 1
        else:
            high = middle
    return sizes[low - 1] if low > 0 else None


def available_memory() -> int:
    """Bytes that this process may still take of the machine's memory, or of its control group's."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines())
    available = int(lines["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and (text := limit.read_text(encoding="utf-8").strip()) != "max":
        available = min(available, int(text) - int(used.read_text(encoding="utf-8")))
    return available


def _memory(placement: Placement) -> int:
    if placement.on_gpu:  # all of it: no process has taken any yet, and equal GPUs must give equal answers
        devices = range(torch.cuda.device_count())
        return min(torch.cuda.get_device_properties(device).total_memory for device in devices)
    return available_memory() // placement.processes_per_machine


def _plan(arguments: TrainingArguments, model: BartForConditionalGeneration) -> MemoryPlan:
    return MemoryPlan(
        model.config,
        parameters=sum(weight.numel() for weight in model.parameters()),
        trained_parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
        mixed_precision=arguments.bf16 or (arguments.fp16 and arguments.amp_level != "O0"),
        recomputes_layers=arguments.gradient_checkpointing,
    )


def _tried(
    arguments: TrainingArguments,
    model: BartForConditionalGeneration,
    sizes: Sequence[int],
    longest: tuple[int, int],
    device: str = "cuda",
) -> int | None:
    """The largest batch whose forward and backward pass run beside an optimizer's state. Draws nothing."""
    kind = torch.float16 if arguments.fp16 else torch.bfloat16
    model.to(device)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [torch.empty(2, *weight.shape, device=device) for weight in trained]

    def fits(size: int) -> bool:
        sources, targets = (torch.full((size, length), 5, device=device) for length in longest)
        mask = torch.ones_like(sources)
        mask[:, -1] = 0  # padded, as most batches are
        try:
            with torch.autocast(device, kind, enabled=arguments.bf16 or arguments.fp16):
                loss = model.summed_loss(sources, mask, targets, arguments.label_smoothing)
            loss.backward()
        except torch.OutOfMemoryError:
            return False
        finally:
            model.zero_grad()
        return True

    def fits_clean(size: int) -> bool:
        gc.collect()  # what a failed trial has left
        torch.cuda.empty_cache()
        return fits(size)

    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        found = largest_that_fits(sizes, fits_clean)
    del moments
    model.to("cpu")
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return found
