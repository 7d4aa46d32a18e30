"""The acceptance of a GPU, on the CPU: what its report says of tests that pass, are skipped, fail, hang or die."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    keyword = "next_token and bfloat16 or search and 1 or cores_near"
    process, report = accept(tmp_path, "--keyword", keyword)
    assert process.returncode == 0, process.stdout + process.stderr
    assert outcomes(report) == {
        "test_kernels.py::test_the_next_token_by_the_fast_kernels[torch.bfloat16]": ("passed", None),
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
