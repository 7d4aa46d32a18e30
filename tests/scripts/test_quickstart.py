import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_quickstart_with_a_few_steps(tmp_path: Path) -> None:
    flags = ["--max_steps", "6", "--warmup_steps", "2", "--n_val", "20"]
    environment = {**os.environ, "PYTHON": sys.executable, "RESULTS_DIR": str(tmp_path / "results")}
    command = ["bash", str(ROOT / "scripts" / "quickstart.sh"), *flags]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    reports = [read_json(path) for path in (tmp_path / "results").rglob("test_rouge.json")]
    assert len(reports) == 5
    assert len({report["n_obs"] for report in reports}) == 1
    assert "first sentence of the text" in process.stdout
    assert process.stdout.count("reference: ") == 10


def test_positional_arguments_are_refused() -> None:
    process = subprocess.run(
        ["bash", str(ROOT / "scripts" / "quickstart.sh"), "data"], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert process.stderr.startswith("error: ")
    assert process.stderr.count("\n") == 1
