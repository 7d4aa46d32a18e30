"""The acceptance of a GPU, on the CPU: its report of tests and rows that pass, are skipped, fail, hang or die."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.benchmark.gpu.part import Part
from scripts.benchmark.gpu.rows import PART_SECONDS, PARTS, Row
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]

FAULTY = """
import os, time, pytest
pytestmark = pytest.mark.gpu

def test_fails(): assert 1 + 1 == 3, "one and one"
def test_dies(): os.kill(os.getpid(), 9)
def test_hangs(): time.sleep(60)
def test_lacks_a_package(): import no_such_package
def test_passes(): pass
"""


def accept(folder: Path, *flags: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    environment = {**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(folder / "results")}
    command = ["bash", str(ROOT / "scripts" / "benchmark" / "gpu_acceptance.sh"), "--device", "cpu", *flags]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    path = folder / "results" / "gpu_acceptance.json"
    assert path.exists(), process.stderr
    return process, read_json(path)


def outcomes(report: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    return {test["test"].split("/")[-1]: (test["outcome"], test["reason"]) for test in report["tests"]}


def test_passed_and_skipped(tmp_path: Path) -> None:
    keyword = "next_token and triton and bfloat16 or the_search_finds and 1 or cores_near"
    process, report = accept(tmp_path, "--keyword", keyword)
    assert process.returncode == 0, process.stdout + process.stderr
    assert outcomes(report) == {
        "test_kernels.py::test_the_next_token_by_the_fast_kernels[triton-torch.bfloat16]": ("passed", None),
        "test_kernels.py::test_the_search_finds_the_same_tokens[1]": ("passed", None),
        "test_one_gpu.py::test_cores_near_the_gpu": ("skipped", "only CUDA can run this"),
    }
    assert report["counts"] == {"passed": 2, "skipped": 1} and report["finished"] and not report["problems"]
    assert report["gpu"] is None and report["packages"]["torch"] and report["missing_packages"] == []
    assert "test_cores_near_the_gpu: only CUDA can run this" in process.stdout


def test_goes_on_past_failures(tmp_path: Path) -> None:
    (tmp_path / "test_faulty.py").write_text(FAULTY)
    (tmp_path / "test_unreadable.py").write_text("import no_such_package")
    process, report = accept(tmp_path, "--tests", str(tmp_path), "--test_limit", "4")
    assert process.returncode == 1, process.stdout + process.stderr
    found = outcomes(report)
    assert "one and one" in found.pop("test_faulty.py::test_fails")[1]
    missing = ("skipped", "needs no_such_package, which is not installed")
    assert found == {
        "test_unreadable.py": missing,
        "test_faulty.py::test_dies": ("failed", "pytest ended with exit code -9"),
        "test_faulty.py::test_hangs": ("failed", "the limit of 4 seconds for a test"),
        "test_faulty.py::test_lacks_a_package": missing,
        "test_faulty.py::test_passes": ("passed", None),
    }
    assert report["finished"] and not report["problems"]
    log = (tmp_path / "results" / "gpu_acceptance.log").read_text()
    assert "time.sleep(60)" not in log and "in test_hangs" in log  # where it hung


def test_the_limit_for_all(tmp_path: Path) -> None:
    """On a machine that is busy it may be over before the tests are read."""
    (tmp_path / "test_faulty.py").write_text(FAULTY)
    process, report = accept(tmp_path, "--tests", str(tmp_path), "--keyword", "hangs or passes", "--time_limit", "3")
    assert process.returncode == 1
    limit = "the limit of 3 seconds for all"
    assert report["finished"] and report["problems"] == [limit]
    assert set(outcomes(report).values()) <= {("failed", limit), ("not run", limit)}


ROW = "tests.scripts.acceptance_rows.row"
DESCRIBED = {"gpu": None, "packages": {"torch": "2"}, "git_commit": "abc"}


def a_row(then: str, **given: Any) -> Row:
    return Row(then, ROW, 1, {"then": then}, **given)


def test_rows_go_on_past_failures(tmp_path: Path) -> None:
    """A row that fails, dies or hangs keeps its figures, and the next one gets a fresh process."""
    names = ["pass", "fail", "lack a package", "be skipped", "die"]
    rows = [*map(a_row, names), a_row("pass", process="another", environment={"ROW": "1"})]
    rows.append(a_row("pass", packages=("no_such_package",)))
    report = Part(7, rows, "cpu", tmp_path, 200, DESCRIBED).run()
    assert report == read_json(tmp_path / "part7.json") and report["finished"]
    found = [(row["outcome"], row["reason"]) for row in report["rows"]]
    lacking = ("skipped", "needs no_such_package, which is not installed")
    assert found == [
        ("passed", None),
        ("failed", "RuntimeError: one and one"),
        lacking,
        ("skipped", "the card is too small"),
        ("failed", "its process ended with exit code -9"),
        ("passed", None),
        lacking,
    ]
    figures = [row["figures"] for row in report["rows"]]
    assert all(of_row["infinite"] == "inf" for of_row in figures[:-1])
    processes = [of_row["process"] for of_row in figures[:-1]]
    assert processes[0] == processes[1] != processes[2] == processes[3] == processes[4] != processes[5]
    assert figures[5]["environment"] == "1" and figures[0]["environment"] is None
    assert report["rows"][0]["on"] == "CPU, torch 2, commit abc"


def test_the_limit_of_a_part(tmp_path: Path) -> None:
    report = Part(7, [a_row("hang"), a_row("pass")], "cpu", tmp_path, 4, DESCRIBED).run()
    limit = "the limit of 4 seconds for the part"
    assert [(row["outcome"], row["reason"]) for row in report["rows"]] == [("failed", limit), ("not run", limit)]
    assert report["rows"][0]["figures"]["infinite"] == "inf"


def test_a_killed_part_keeps_its_rows(tmp_path: Path) -> None:
    """Also the figures that the running row has told."""
    program = f"""
from pathlib import Path
from scripts.benchmark.gpu.part import Part
from tests.scripts.test_gpu_acceptance import DESCRIBED, a_row
Part(7, [a_row("pass"), a_row("hang")], "cpu", Path({str(tmp_path)!r}), 200, DESCRIBED).run()
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    path = tmp_path / "part7.json"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = read_json(path)["rows"] if path.exists() else []
        if rows and rows[1]["figures"]:
            break
        time.sleep(0.1)
    process.kill()
    process.wait()
    report = read_json(path)
    assert [row["outcome"] for row in report["rows"]] == ["passed", "running"] and not report["finished"]
    assert report["rows"][1]["figures"]["infinite"] == "inf"
    os.kill(report["rows"][1]["figures"]["process"], 9)


def measure(folder: Path, *flags: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    environment = {**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(folder / "results")}
    command = ["bash", str(ROOT / "scripts" / "benchmark" / "gpu_acceptance.sh"), "--device", "cpu", *flags]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)
    (path,) = (folder / "results").glob("part*.json")
    return process, read_json(path)


def test_the_rows_of_part_0_that_take_no_time(tmp_path: Path) -> None:
    names = ["attention", "training", "beam", "greedy", "training_without_kernels", "search_profile"]
    process, report = measure(tmp_path, "--part", "0", "--rows", ",".join(names))
    assert process.returncode == 0, process.stdout + process.stderr
    assert [row["row"] for row in report["rows"]] == names
    attention, training, beam, greedy, plain, profile = (row["figures"] for row in report["rows"])
    assert attention["default, bf16, 192 tokens, mask"] < 0.05
    assert training["tokens_per_second"]["median"] > 0 and training["last_loss"] == plain["last_loss"]
    assert training["command"].startswith("python -m scripts.benchmark.compare_training --shape small")
    assert beam["sequences_per_second"]["rounds"] and greedy["mean_output_tokens"] == beam["mean_output_tokens"] == 14
    assert len(profile["longest"]) == 25 and 0 < profile["host_share"] < 1
    assert "part 0: 6 passed" in process.stdout and "sequences/s" in process.stdout


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_parts(part: int, tmp_path: Path) -> None:
    process, report = measure(tmp_path, "--part", str(part))
    assert process.returncode == 0, process.stdout + process.stderr
    assert report["counts"].keys() <= {"passed", "skipped"} and report["counts"]["passed"] > 1


def test_rows_are_known_and_fit_into_their_part(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "scripts" / "benchmark" / "gpu_acceptance.sh")]
    environment = {**os.environ, "PYTHON": sys.executable}
    listed = subprocess.run([*command, "--list"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert listed.returncode == 0 and "part 3:" in listed.stdout and "greedy_tensorrt_llm_64" in listed.stdout
    assert not list(tmp_path.iterdir())
    for rows in PARTS.values():
        names = [row.name for row in rows]
        assert len(set(names)) == len(names) and sum(row.seconds for row in rows) <= PART_SECONDS
    flags = ["--part", "1", "--rows", "no_such_row"]
    refused = subprocess.run([*command, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "--rows no_such_row: part 1 has training_padded_40" in refused.stderr
