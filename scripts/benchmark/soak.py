"""Kill trainings at random moments, and check that each, when resumed, ends bit for bit like one without a kill.

A run is killed and resumed a few times, then left to end. Its last checkpoint (weights, optimizer state, random states,
position in the data) and its metrics are compared with those of a run without a kill. A kill counts as survived if both
are the same in every bit. The processes are real ones, killed by SIGKILL.
"""

import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bart.errors import InputError
from tests.commands import Command, run, run_as_torchrun, start_as_torchrun
from tests.same_end import differences_of_runs
from tests.tiny_setup import TinySetup, write_tiny_setup
from utils.checkpoint.checkpoint_io import checkpoints
from utils.cli.options import at_least, option
from utils.cli.run import run_command
from utils.io.json_files import read_json, write_json

MODES = ("train", "save", "ranks")
_STEPS = 40  # of a run, over several epochs, each with two validations
_SAVE_EVERY = 3
_KILLS_OF_A_RUN = 10
_SECONDS_FOR_THE_OTHERS = 30.0  # to notice that one of them is dead
_VARIANTS = {  # flags of a run; the number of workers differs from start to start
    "plain": ["--gradient_accumulation_steps", "1"],
    "accumulation": ["--gradient_accumulation_steps", "3"],
    "token budget": ["--max_tokens_per_batch", "250"],
}


@dataclass
class SoakArguments:
    """The command line."""

    mode: str = option(
        "train",
        "kills",
        "train: kill anywhere in a training; save: inside a save, with TMPDIR on another file system; ranks: kill one "
        "of two processes",
        choices=MODES,
    )
    kills: int = option(
        50, "kills", "number of kills at least; with --mode save, of kills proven inside a save", check=at_least(1)
    )
    seed: int = option(0, "kills", "seed of the moments, which it repeats only roughly", check=at_least(0))
    folder: str | None = option(None, "output", "folder of the runs (default: a temporary one, deleted at the end)")
    json: str | None = option(None, "output", "file for the figures")

    def check(self) -> None:
        """Accept any combination."""


@dataclass
class Soak:
    """The kills, and how the runs ended."""

    folder: Path
    rng: random.Random
    setup: TinySetup = field(init=False)
    kills: int = 0
    survived: int = 0
    places: Counter[str] = field(default_factory=Counter)  # how many kills struck in which part
    faults: list[str] = field(default_factory=list)
    slowest_end: float = 0.0  # seconds that a process took to end after the other one's death
    validated: list[int] = field(default_factory=list)  # the steps that a validation follows, in the current run
    _whole: dict[str, Path] = field(default_factory=dict)
    _runs: int = 0

    def __post_init__(self) -> None:
        (self.folder / "setup").mkdir()
        self.setup = write_tiny_setup(self.folder / "setup")

    def flags(self, variant: str, folder: Path) -> list[str]:
        common = [*self.setup.training_flags, *_VARIANTS[variant], "--max_steps", str(_STEPS)]
        return [*common, "--save_checkpoint_steps", str(_SAVE_EVERY), "--output_dir", str(folder)]

    def whole_run(self, variant: str, processes: int) -> Path:
        """Return the results of a run of this kind without a kill; made once."""
        name = f"whole, {variant}, {processes}"
        if name not in self._whole:
            folder = self.folder / name
            if processes == 1:
                run("finetune.py", self.flags(variant, folder), self.folder / "log")
            else:
                run_as_torchrun("finetune.py", self.flags(variant, folder), self.folder / "log", processes)
            self._whole[name] = folder
        return self._whole[name]

    def kill_a_run(self, variant: str, kills: int, processes: int, strike: "Strike") -> None:
        """Kill and resume a run up to ``kills`` times, and compare its end with that of a run without a kill."""
        folder = self.folder / f"run {self._runs}"
        self._runs += 1
        whole = self.whole_run(variant, processes)
        self.validated = [record["step"] for record in read_json(whole / "metrics.json")["validation"]]
        killed: list[str] = []
        while len(killed) < kills:
            place = strike(self, [*self.flags(variant, folder), "--resume"], folder)
            if place is None:  # it has ended before
                break
            killed.append(place)
            print(f"kill {self.kills + len(killed)}: {variant}, {place}", flush=True)
        flags = [*self.flags(variant, folder), "--resume"]
        log = self.folder / "log"
        if processes == 1:
            run("finetune.py", flags, log)
        else:
            run_as_torchrun("finetune.py", flags, log, processes)
        found = differences_of_runs(folder, whole)
        found += [f"{path.name} is left" for path in folder.glob(".*")]
        self.kills += len(killed)
        self.places.update(killed)
        self.survived += len(killed) if not found else 0
        self.faults += [f"{folder}: {fault}" for fault in found]
        if not found:
            shutil.rmtree(folder)


# Starts a run and kills it; returns in which part the kill struck, or None if the run ended first.
Strike = Callable[[Soak, list[str], Path], str | None]


def strike_anywhere(soak: Soak, flags: list[str], folder: Path) -> str | None:
    """Kill a run while it starts, between or within steps, or in a validation; with 0 or 2 workers."""
    rng = soak.rng
    command = Command("finetune.py", [*flags, "--num_workers", str(rng.choice([0, 2]))], soak.folder / "log")
    aim = rng.choices(["start", "steps", "validation"], [1, 5, 2])[0]
    if aim == "start":
        time.sleep(rng.uniform(0, 1.5))
    else:
        steps = soak.validated if aim == "validation" else range(1, _STEPS + 1)
        done = _last_step(folder)
        wanted = [step for step in steps if step > done][: 2 if aim == "validation" else 6]
        _wait_for_step(command, rng.choice(wanted or [_STEPS]))
        time.sleep(rng.uniform(0, 0.01 if aim == "validation" else 0.05))
    return _kill(soak, command, folder)


def strike_in_a_save(soak: Soak, flags: list[str], folder: Path) -> str | None:
    """Kill a run as soon as a checkpoint is being written, or has grown; TMPDIR is on another file system."""
    elsewhere = _other_file_system(folder)
    environment = {"TMPDIR": str(elsewhere)}
    saves_to_pass = soak.rng.randrange(3)
    must_grow = soak.rng.random() < 0.7
    command = Command("finetune.py", flags, soak.folder / "log", environment)
    seen: dict[str, int] = {}
    while command.process.is_alive():
        for name, size in _being_written(folder):
            if name not in seen:
                seen[name] = 0
            if len(seen) > saves_to_pass and (size > seen[name] or not must_grow):
                return _kill(soak, command, folder)
            seen[name] = size
    return _kill(soak, command, folder)


def strike_one_of_two(soak: Soak, flags: list[str], folder: Path) -> str | None:
    """Kill one of two processes, and check that the other ends by itself."""
    commands = start_as_torchrun("finetune.py", [flags] * 2, soak.folder / "log")
    done = _last_step(folder)
    _wait_for_step(commands[0], min(_STEPS, done + soak.rng.randint(1, 6)))
    time.sleep(soak.rng.uniform(0, 0.1))
    rank = soak.rng.randrange(2)
    place = _kill(soak, commands[rank], folder, commands[0])
    start = time.monotonic()
    commands[1 - rank].process.join(_SECONDS_FOR_THE_OTHERS)
    if commands[1 - rank].process.is_alive():
        commands[1 - rank].process.kill()
        soak.faults.append(f"{folder}: rank {1 - rank} had not ended {_SECONDS_FOR_THE_OTHERS:.0f} s after the other")
    elif place is not None and commands[1 - rank].process.exitcode == 0 and not _has_trained(commands[0]):
        soak.faults.append(f"{folder}: rank {1 - rank} ended with 0, although the other was killed")
    soak.slowest_end = max(soak.slowest_end, time.monotonic() - start)
    return place and f"rank {rank} {place}"


STRIKES: dict[str, Strike] = {"train": strike_anywhere, "save": strike_in_a_save, "ranks": strike_one_of_two}


def soak(mode: str, kills: int, seed: int, folder: Path) -> Soak:
    """Make at least ``kills`` kills of a kind."""
    result = Soak(folder, random.Random(seed))
    variants = ["plain"] if mode == "ranks" else list(_VARIANTS)

    def missing() -> int:
        return kills - (result.places["in a save"] if mode == "save" else result.kills)

    while missing() > 0:
        variant = variants[result._runs % len(variants)]
        most = min(_KILLS_OF_A_RUN, missing())
        result.kill_a_run(variant, most, 2 if mode == "ranks" else 1, STRIKES[mode])
    return result


def _kill(soak: Soak, command: Command, folder: Path, speaker: Command | None = None) -> str | None:
    """Send SIGKILL; return in which part it struck, by the output of ``speaker`` (by default of the command itself)."""
    command.process.kill()
    command.process.join()
    if command.process.exitcode != -9:
        if command.process.exitcode != 0:
            raise RuntimeError(f"the training failed by itself:\n{command.output}")
        return None
    if any(name.startswith("._epoch") for name, _ in _being_written(folder)):
        return "in a save"
    lines = [line for line in (speaker or command).output.splitlines() if line.startswith("step ")]
    if not lines:
        return "while it started"
    is_record = "validation:" not in lines[-1]
    step = int(lines[-1].removeprefix("step ").partition("/")[0])
    return "in a validation" if is_record and step in soak.validated else "in the steps"


def _being_written(folder: Path) -> list[tuple[str, int]]:
    """Return name and size of each temporary file of a checkpoint."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("._epoch") and entry.name.endswith(".part"):
                    found.append((entry.name, entry.stat().st_size))
    except FileNotFoundError:  # no folder yet, or the file has just been renamed
        pass
    return found


def _wait_for_step(command: Command, step: int) -> None:
    """Wait until the command has printed that step, or has ended."""
    while command.process.is_alive() and f"step {step}/" not in command.output:
        time.sleep(0.001)


def _has_trained(command: Command) -> bool:
    """Whether the last step is done, after which each process may end without the other."""
    return f"step {_STEPS}/" in command.output


def _last_step(folder: Path) -> int:
    found = checkpoints(folder) if folder.is_dir() else []
    return int(found[-1].stem.rpartition("step")[2]) if found else 0


def _other_file_system(folder: Path) -> Path:
    """Find a folder on another file system than that of the runs. Raises InputError if there is none."""
    for place in (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp")):
        if place.is_dir() and place.stat().st_dev != folder.parent.stat().st_dev:
            return place
    raise InputError("--folder: neither /dev/shm nor /tmp is on another file system; give another folder")


def report(arguments: SoakArguments) -> None:
    """Run, and print how many kills were survived. Raises InputError if any was not."""
    start = time.monotonic()
    folder = Path(arguments.folder or tempfile.mkdtemp(prefix="soak"))
    folder.mkdir(parents=True, exist_ok=True)
    result = soak(arguments.mode, arguments.kills, arguments.seed, folder)
    figures = {
        "mode": arguments.mode,
        "seed": arguments.seed,
        "kills": result.kills,
        "survived": result.survived,
        "places": dict(result.places),
        "slowest_end_of_the_other": round(result.slowest_end, 1),
        "faults": result.faults,
        "seconds": round(time.monotonic() - start),
    }
    if arguments.json is not None:
        write_json(arguments.json, figures)
    places = ", ".join(f"{count} {place}" for place, count in sorted(result.places.items()))
    ended = f", the other ended within {result.slowest_end:.1f} s" if arguments.mode == "ranks" else ""
    print(f"{arguments.mode}: {result.survived} kills survived of {result.kills} made ({places}{ended})")
    if result.faults:
        raise InputError(f"{len(result.faults)} differences, see {folder}: {'; '.join(result.faults[:5])}")
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit(run_command(SoakArguments, __doc__ or "", report))
