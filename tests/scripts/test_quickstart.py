"""The quickstart as a user runs it: all phases for real, with a few texts or with the whole corpus."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]
A_FEW_STEPS = ["--max_steps", "3", "--warmup_steps", "1"]
PHASES = ["Set-up", "Corpus", "Fine-tuning", "Baselines", "Report"]
ALL_PHASES = [*PHASES[:4], "Controls", "Report"]


def quickstart(*flags: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DATA_DIR", "RESULTS_DIR")}
    return subprocess.run(
        ["bash", str(ROOT / "scripts" / "quickstart.sh"), *flags],
        cwd=folder,
        env={**environment, "PYTHON": sys.executable, "RESULTS_DIR": "my results", **variables},
        capture_output=True,
        text=True,
    )


def write_a_few_texts(folder: Path) -> None:
    """Write pairs of each split as line files."""
    folder.mkdir()
    for split, count in (("train", 40), ("val", 8), ("test", 12)):
        sources = [f"Read line {row} of the {split} file. Blank lines count." for row in range(count)]
        (folder / f"{split}.source").write_text("".join(f"{source}\n" for source in sources))
        (folder / f"{split}.target").write_text("".join(f"Return line {row}.\n" for row in range(count)))


def check_phases(process: subprocess.CompletedProcess[str], phases: list[str]) -> None:
    """Check that each phase says its number and its time, and that the output ends with all times."""
    assert process.returncode == 0, process.stderr
    number = f"/{len(phases)}] "
    announced = re.findall(rf"^\[(\d){number}(\S+): ", process.stderr, flags=re.MULTILINE)
    ended = re.findall(rf"^\[(\d){number}(\S+) took (?:\d+ min )?\d+ s\.$", process.stderr, flags=re.MULTILINE)
    assert announced == ended == [(str(place), phase) for place, phase in enumerate(phases, 1)]
    times = process.stdout.partition("Time of each phase:\n")[2].splitlines()
    assert [line.split()[0] for line in times] == [*phases, "total"]


def check_report(process: subprocess.CompletedProcess[str], results: Path, evaluations: list[str]) -> None:
    """Check the three texts, the table and the page."""
    for kind in ("text", "reference", "before", "after"):
        assert len(re.findall(rf"^{kind:>9}: \S", process.stdout, flags=re.MULTILINE)) == 3
    found = {path.parent.name: read_json(path) for path in results.rglob("test_rouge.json")}
    assert sorted(found) == sorted([results.name, *evaluations])
    assert len({report["n_obs"] for report in found.values()}) == 1
    for report in found.values():
        row = rf"{report['rouge1']:8.2f} \[.{{10}}\]{report['rouge2']:8.2f} "
        assert re.search(rf"^\S.*{row}", process.stdout, flags=re.MULTILINE)
    assert re.search(r"^rouge1 .*\[[+-][\d.]+, [+-][\d.]+\] +[01]\.\d{4}$", process.stdout, flags=re.MULTILINE)
    assert f"    {results}/results.html\n" in process.stdout
    assert "Before and after fine-tuning" in (results / "results.html").read_text()


def test_with_a_few_texts(tmp_path: Path) -> None:
    """On own data, in a folder with a blank in its name."""
    write_a_few_texts(tmp_path / "my data")
    process = quickstart(*A_FEW_STEPS, folder=tmp_path, DATA_DIR="my data")
    check_phases(process, PHASES)
    check_report(process, tmp_path / "my results", ["pretrained", "first_sentence"])
    assert f"uses your own data: {tmp_path}/my data." in process.stderr
    assert not (tmp_path / "my data" / "corpus.json").exists()
    assert f" {shlex.quote(str(tmp_path / 'my data'))} " in process.stdout  # in the command for a large model


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_with_a_few_steps_and_controls(tmp_path: Path) -> None:
    """On the docstrings. The command that summarizes a text works."""
    process = quickstart("--controls", *A_FEW_STEPS, folder=tmp_path)
    check_phases(process, ALL_PHASES)
    evaluations = ["pretrained", "first_sentence", "shuffled_sources", "from_scratch"]
    check_report(process, tmp_path / "my results", evaluations)
    (command,) = re.findall("^    (echo .*)$", process.stdout, flags=re.MULTILINE)
    environment = {**os.environ, "PYTHON": sys.executable}
    summarized = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert summarized.returncode == 0 and summarized.stdout.count("\n") == 1, summarized.stderr
    assert process.stdout.rstrip().count(f"DATA_DIR=my_data bash {ROOT}/scripts/quickstart.sh") == 1


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min 00 s"), (3725, "62 min 05 s")])
def test_durations_as_people_read_them(seconds: int, text: str) -> None:
    command = f"source {ROOT}/scripts/lib/phases.sh && duration {seconds}"
    assert subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout == f"{text}\n"


@pytest.mark.parametrize("arguments", [["data"], ["--n_test", "0"], ["--dry_run"], ["--model_name_or_path=a_bart"]])
def test_what_does_not_go_with_a_quickstart_is_refused(arguments: list[str], tmp_path: Path) -> None:
    process = quickstart(*arguments, folder=tmp_path)
    assert process.returncode == 2
    assert process.stderr.startswith("error: ") and arguments[0].partition("=")[0] in process.stderr
    assert process.stderr.count("\n") == 1
