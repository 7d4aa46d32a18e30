"""Run the tests that need a GPU, or measure the rows of a part; scripts/benchmark/gpu_acceptance.sh starts this."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from bart.errors import InputError
from scripts.benchmark.gpu.machine import describe
from scripts.benchmark.gpu.part import Part
from scripts.benchmark.gpu.rows import PART_SECONDS, PARTS
from scripts.benchmark.gpu.test_run import Acceptance, summary
from utils.cli.options import above, option
from utils.cli.run import run_command
from utils.io.atomic_files import make_folder

ROOT = Path(__file__).parents[2]
_TESTS_SECONDS = 520.0


def _part(value: int | None) -> str | None:
    return None if value is None or value in PARTS else f"give one of {', '.join(map(str, PARTS))}"


@dataclass
class AcceptanceArguments:
    output_dir: str = option("results/gpu_acceptance", "Results", "folder for gpu_acceptance.json and .log")
    device: str = option("cuda", "Tests", "device to run on", choices=("cuda", "cpu"))
    tests: str = option("tests/gpu", "Tests", "file or folder of tests")
    keyword: str | None = option(None, "Tests", "run only tests whose name matches, as with pytest -k")
    test_limit: float = option(120.0, "Limits", "seconds that one test may take", check=above(0))
    time_limit: float | None = option(
        None,
        "Limits",
        "seconds that all tests, or the rows of a part, may take; the rest is not run; by default "
        f"{_TESTS_SECONDS:g} and {PART_SECONDS:g}",
        check=lambda value: None if value is None else above(0)(value),
    )
    part: int | None = option(
        None, "Parts", "measure the rows of a part, 0 to 4, instead of running the tests", check=_part
    )
    rows: str | None = option(None, "Parts", "run only these rows of the part, separated by commas")
    list: bool = option(False, "Parts", "print the rows with the seconds that they are expected to take, and end")

    def check(self) -> None:
        """Raise InputError if --tests or one of --rows does not exist."""
        if not (ROOT / self.tests).exists():
            raise InputError(f"--tests {self.tests}: no such file or folder; give a path in the checkout")
        if self.rows is not None and self.part is None:
            raise InputError("--rows: give --part too, of which they are rows")
        known = [row.name for row in PARTS[self.part]] if self.part is not None else []
        for name in self.rows.split(",") if self.rows is not None else []:
            if name not in known:
                raise InputError(f"--rows {name}: part {self.part} has {', '.join(known)}")

    @property
    def seconds(self) -> float:
        """Return the limit for all tests or rows."""
        default = _TESTS_SECONDS if self.part is None else PART_SECONDS
        return default if self.time_limit is None else self.time_limit


def run_tests(arguments: AcceptanceArguments) -> None:
    """Run the tests and write gpu_acceptance.json; end with exit code 1 if a test failed or was not run."""
    acceptance = Acceptance(arguments)
    acceptance.run()
    print("\n".join(summary(acceptance.report)))
    print(f"written: {Path(arguments.output_dir) / 'gpu_acceptance.json'}")
    counts = acceptance.report["counts"]
    if counts.get("failed") or counts.get("not run") or acceptance.problems:
        sys.exit(1)


def run_part(arguments: AcceptanceArguments, number: int) -> None:
    """Measure the rows of a part and write partN.json; end with exit code 1 if a row failed or was not run."""
    chosen = None if arguments.rows is None else arguments.rows.split(",")
    rows = [row for row in PARTS[number] if chosen is None or row.name in chosen]
    folder = Path(arguments.output_dir)
    part = Part(number, rows, arguments.device, folder, arguments.seconds, describe(arguments.device))
    report = part.run()
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(report["counts"].items()))
    print(f"part {number}: {counts} in {report['seconds']:.0f} s on {report['gpu'] or 'the CPU'}")
    print(f"written: {folder / f'part{number}.json'}")
    if report["counts"].keys() & {"failed", "not run"}:
        sys.exit(1)


def print_rows(part: int | None) -> None:
    """Print the rows of a part, or of all."""
    for number in PARTS if part is None else [part]:
        print(f"part {number}: {sum(row.seconds for row in PARTS[number])} s expected on an H100, from cold")
        for row in PARTS[number]:
            print(f"{row.seconds:8} s  {row.name}")


def accept(arguments: AcceptanceArguments) -> None:
    """Do what the command line asks for."""
    if arguments.list:
        print_rows(arguments.part)
        return
    make_folder(Path(arguments.output_dir), "--output_dir")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which also ends the processes, in sessions of their own
    if arguments.part is None:
        run_tests(arguments)
    else:
        run_part(arguments, arguments.part)


if __name__ == "__main__":
    sys.exit(run_command(AcceptanceArguments, "Run the tests that need a GPU, or measure a part's rows.", accept))
