"""Rows of training: speed, peak memory, the largest batch that fits, losses beside transformers."""

import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Any

import torch

from bart.out_of_memory import is_out_of_memory
from scripts.benchmark.gpu.profiling import profiled
from scripts.benchmark.gpu.session import Session, Settings, Unfit, command_of, kernels_switched, spread
from scripts.benchmark.training_systems import (
    Stopped,
    forget_memory,
    peak_bytes,
    train_ours,
    train_transformers,
    training_order,
)
from scripts.benchmark.training_work import CHECK_STEPS, CompareArguments, make_work, operations_of, write_model
from utils.training.flops import measured_peak

_MODULE = "scripts.benchmark.compare_training"
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_OF_WORK = {"shape", "vocab_size", "mode", "batch_size", "source_length", "target_length", "documents", "batch_shapes"}
_OF_WORK |= {"compile", "freeze_embeds"}
_MEMORY_STEPS = 3  # the third has the optimizer's state and what the allocator keeps
_LARGEST_DIFFERENCE = 0.01  # of losses, relative
_LARGEST_TRIED = 256  # examples


class RoundsGate:
    """Lets a training take its steps, and times rounds of them; stands in for training_systems.Gate.

    The first call of ``step`` comes before the first step, the last one after the last step.
    """

    def __init__(self, device: str, warm_ups: int) -> None:
        self._device, self._warm_ups = device, warm_ups
        self._actions = self._run()
        self._tokens: Any = 0
        self.losses: list[Any] = []

    def step(self) -> None:
        """Act between two steps. Raises Stopped after the last one."""
        try:
            next(self._actions)
        except StopIteration:
            raise Stopped from None

    def count(self, tokens: Any, loss: Any) -> None:
        """Record a step: its non-pad source and target tokens, and the mean loss."""
        self._tokens = self._tokens + tokens
        self.losses.append(loss)

    def take(self, steps: int) -> Iterator[None]:
        """Let that many steps be taken."""
        for _ in range(steps):
            yield

    def timed(self, steps: int) -> Generator[None, None, tuple[int, float]]:
        """Let that many steps be taken; return their tokens and seconds."""
        self._wait()
        self._tokens, start = 0, time.perf_counter()
        yield from self.take(steps)
        self._wait()
        return int(self._tokens), time.perf_counter() - start

    def _run(self) -> Iterator[None]:
        yield from self.take(self._warm_ups)
        yield from self.run()

    def run(self) -> Iterator[None]:
        """Yield once for each step after the warm-up."""
        raise NotImplementedError

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()


def arguments_of(session: Session, settings: Settings, **more: Any) -> CompareArguments:
    """Return the work of a row as compare_training.py's command line."""
    given = {name: value for name, value in settings.items() if name in _OF_WORK}
    if settings.get("mode") == "natural":
        given |= {"token_budgets": str(settings["max_tokens"]), "batch_sizes": str(settings.get("batch_size", 1))}
    given |= {"precisions": settings["precision"], "systems": settings.get("system", "ours"), "device": session.device}
    return CompareArguments(**given, **more)


def run_training(
    session: Session, arguments: CompareArguments, settings: Settings, gate: RoundsGate, triton: bool = True
) -> None:
    """Train the first of ``arguments.systems`` until the gate stops it; settings are those of training_systems.py."""
    name = f"training_{arguments.shape}_{arguments.vocab_size}{'_without_dropout' if arguments.check_losses else ''}"
    folder = session.model_folder(name, lambda path: write_model(path, arguments))
    work = make_work(folder, arguments)
    train = {"ours": train_ours, "transformers": train_transformers}[arguments.systems]
    session.kept.clear()
    forget_memory(session.device)
    with kernels_switched(triton), suppress(Stopped):
        train(work, settings, gate)


def training_settings(settings: Settings) -> Settings:
    """Return the settings of training_systems.py for a row."""
    chosen = {"precision": settings["precision"]}
    if settings.get("mode") != "natural":
        return chosen | {"batch_size": settings["batch_size"], "sampling": "random"}
    if settings.get("system") == "transformers":
        return chosen | {"batch_size": settings["batch_size"], "sampling": settings["sampling"]}
    return chosen | {"max_tokens": settings["max_tokens"], "sampling": "length groups"}


def train(session: Session, settings: Settings) -> None:
    """Tell tokens per second, of each round and their median, the share of the peak, and the peak memory.

    With natural lengths a first epoch warms up, in which this project meets every shape; its speed is told too.
    """
    if settings.get("compile") and session.device == "cpu":
        raise Unfit("compiling takes more than a minute on a CPU")
    arguments = arguments_of(session, settings)
    session.tell({"command": command_of(_MODULE, arguments)})
    warm_ups, steps = settings.get("warm_ups", 2), settings.get("steps_per_round", 1)
    natural = settings.get("mode") == "natural"
    examples = arguments.documents if natural else arguments.batch_size
    work = make_work(session.models, arguments)
    if natural and settings.get("system", "ours") == "ours":
        warm_ups, epoch = 1, training_order(work, training_settings(settings)).steps_per_epoch
        steps = max(1, epoch // settings["rounds"])
    elif natural:
        steps = max(1, round(settings["share"] * examples / arguments.batch_size))
    flops_per_token = operations_of(arguments, examples) / sum(
        sum(work[name][:examples]) for name in ("source_lengths", "target_lengths")
    )
    peak = measured_peak(session.device, _DTYPES[settings["precision"]])

    class Speed(RoundsGate):
        def run(self) -> Iterator[None]:
            if natural and warm_ups == 1:
                tokens, seconds = yield from self.timed(epoch)
                session.tell({"first_epoch_tokens_per_second": tokens / seconds})
            speeds, all_seconds = [], []
            for _ in range(settings["rounds"]):
                tokens, seconds = yield from self.timed(steps)
                speeds.append(tokens / seconds)
                all_seconds.append(seconds)
                figures: dict[str, Any] = {"tokens_per_second": spread(speeds), "seconds": spread(all_seconds)}
                figures["share_of_peak"] = figures["tokens_per_second"]["median"] * flops_per_token / peak
                figures |= {"steps_per_round": steps, "peak_gb": peak_bytes(session.device) / 1e9}
                session.tell({**figures, "last_loss": float(self.losses[-1])})

    gate = Speed(session.device, warm_ups)
    run_training(session, arguments, training_settings(settings), gate, settings.get("triton", True))


def profile_training(session: Session, settings: Settings) -> None:
    """Tell the longest kernels and the host's share of some steps, after a warm-up."""
    arguments = arguments_of(session, settings)
    session.tell({"command": command_of(_MODULE, arguments)})

    class Profile(RoundsGate):
        def run(self) -> Iterator[None]:
            with profiled(session.device, settings["profiled_steps"], session.tell):
                yield from self.take(settings["profiled_steps"])

    natural = settings.get("mode") == "natural"
    warm_ups = 5
    if natural:
        warm_ups += training_order(make_work(session.models, arguments), training_settings(settings)).steps_per_epoch
    run_training(session, arguments, training_settings(settings), Profile(session.device, warm_ups))


class FewSteps(RoundsGate):
    """Takes the steps after which the peak memory is known."""

    def run(self) -> Iterator[None]:
        yield from self.take(_MEMORY_STEPS)


class TenSteps(RoundsGate):
    """Takes as many steps as --check_losses compares."""

    def run(self) -> Iterator[None]:
        yield from self.take(CHECK_STEPS)


def peak_gb(session: Session, settings: Settings, batch_size: int) -> float | None:
    """Return the peak memory of training with a batch size; None if it does not fit."""
    of_size = {**settings, "batch_size": batch_size}
    try:
        gate = FewSteps(session.device, 0)
        run_training(session, arguments_of(session, of_size), training_settings(of_size), gate)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    return peak_bytes(session.device) / 1e9


def memory(session: Session, settings: Settings) -> dict[int, float]:
    """Tell the peak memory of some batch sizes, and the line through the first and the last; return the peaks."""
    arguments = arguments_of(session, settings)
    session.tell({"command": command_of(_MODULE, arguments) + " --batch_size SIZE"})
    peaks: dict[int, float] = {}
    for size in settings["batch_sizes"]:
        peak = peak_gb(session, settings, size)
        if peak is None:
            break
        peaks[size] = peak
        session.tell({"peak_gb_by_batch": {str(size): peak for size, peak in peaks.items()}})
    if len(peaks) > 1:
        per_sequence, base = line(peaks)
        session.tell({"gb_per_sequence": per_sequence, "gb_without": base})
    return peaks


def line(peaks: dict[int, float]) -> tuple[float, float]:
    """Return the slope of the line through the smallest and the largest batch, and its height at 0."""
    (first, low), (last, high) = min(peaks.items()), max(peaks.items())
    slope = (high - low) / (last - first)
    return slope, low - slope * first


def largest_batch(session: Session, settings: Settings) -> None:
    """Tell the largest even batch that fits into a part of the memory, by trial from what a line predicts."""
    peaks = memory(session, settings)
    if session.device != "cuda":
        return
    total = torch.cuda.get_device_properties(0).total_memory / 1e9
    if settings["memory_gb"] > total:
        raise Unfit(f"the card has {total:.1f} GB, less than {settings['memory_gb']:g} GB")
    if len(peaks) < 2:
        raise Unfit(f"of the batches of {settings['batch_sizes']} only {list(peaks)} fit into the whole card")
    slope, base = line(peaks)
    torch.cuda.set_per_process_memory_fraction(settings["memory_gb"] / total)
    try:
        size = min(_LARGEST_TRIED, int((settings["memory_gb"] - base) / slope) // 2 * 2)
        while size > 0 and (peak := peak_gb(session, settings, size)) is None:
            session.tell({"too_large": size})
            size -= 2
        if size > 0:
            session.tell({"largest_batch": size, "its_peak_gb": peak})
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def losses(session: Session, settings: Settings) -> None:
    """Tell the losses of both systems on the same batches, without dropout, and their largest relative difference."""
    chosen = {"batch_size": settings["batch_size"], "precision": settings["precision"], "sampling": "ours"}
    chosen["planned_steps"] = 2 * CHECK_STEPS
    found: dict[str, list[float]] = {}
    for system in ("ours", "transformers"):
        arguments = arguments_of(session, {**settings, "system": system}, check_losses=True)
        gate = TenSteps(session.device, 0)
        run_training(session, arguments, chosen, gate)
        found[system] = [float(loss) for loss in gate.losses]
        session.tell({f"losses_of_{system}": found[system]})
    differences = [abs(theirs / ours - 1) for ours, theirs in zip(found["ours"], found["transformers"], strict=True)]
    arguments = arguments_of(session, {**settings, "system": "ours,transformers"}, check_losses=True)
    command = command_of(_MODULE, arguments)
    session.tell({"command": command, "largest_difference": max(differences)})
    if not max(differences) < _LARGEST_DIFFERENCE:
        raise RuntimeError(f"losses differ by {max(differences):.2g}, more than {_LARGEST_DIFFERENCE}")
