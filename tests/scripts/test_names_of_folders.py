"""Checkouts and results folders whose names are hard to handle: they work, or are refused in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ODD = "~sp ace 'q\"uo %s%(x)s eq=ual größe #{b}$`[c]*?\\ \t"
NAMES = [ODD, "new\nline", "-dash", "at the end\n"]


def copy_checkout(folder: Path, *parts: str) -> Path:
    for part in parts:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "finetune.py", folder)
    return folder


def refusal(command: list[str], folder: Path) -> str:
    """Run a command that must refuse with exit code 2; returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RESULTS_DIR")}
    run = subprocess.run(
        command, cwd=folder, env={**environment, "PYTHON": sys.executable},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    )  # fmt: skip
    assert run.returncode == 2, run.stdout
    return run.stdout


def test_a_checkout_with_a_colon_is_refused(tmp_path: Path) -> None:
    """By every script, before it does anything: Python would split its search path there."""
    checkout = copy_checkout(tmp_path / "a:b", "scripts")
    scripts = [path for path in checkout.rglob("*.sh") if path.parent.name not in ("lib", "params")]
    scripts.remove(checkout / "scripts" / "docker" / "install.sh")  # it reads no checkout, and runs in images
    assert {path.name for path in scripts} >= {"summarize.sh", "test.sh", "setup_env.sh", "launch.sh", "soak.sh"}
    for script in scripts:
        printed = refusal(["bash", str(script)], tmp_path)
        assert printed.startswith(f"error: {checkout} has a colon in its name") and printed.count("\n") == 1, script


def test_the_tests_of_a_checkout_with_a_colon_are_refused(tmp_path: Path) -> None:
    checkout = tmp_path / "a:b"
    (checkout / "tests").mkdir(parents=True)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, checkout / name)
    run = subprocess.run([sys.executable, "-m", "pytest"], cwd=checkout, capture_output=True, text=True, timeout=60)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {checkout} has a colon in its name" in run.stderr and run.stderr.count("\n") <= 2, run.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_checkout_of_any_other_name(name: str, tmp_path: Path) -> None:
    """The programs are found; without the modules, they could not refuse a flag."""
    checkout = copy_checkout(tmp_path / name, "scripts", "utils", "bart")
    for command, folder in (
        (["bash", str(checkout / "scripts" / "summarize.sh"), "model"], tmp_path),
        (["bash", str(checkout / "scripts" / "run_summarization.sh"), "data", "config.json", "0"], tmp_path),
        ([sys.executable, f"./{name}/finetune.py"], tmp_path),
        ([sys.executable, "-m", "utils.commands.summarize", "model", "-"], checkout),
    ):
        assert "error: unrecognized arguments: --no_such_flag" in refusal([*command, "--no_such_flag"], folder)
