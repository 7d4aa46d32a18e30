import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_setup import write_tiny_setup
from utils.data.line_files import read_lines
from utils.io.json_files import read_json

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_figures_of_a_few_documents(tmp_path: Path) -> None:
    tokenizer = write_tiny_setup(tmp_path).tokenizer
    command = [sys.executable, "-m", "scripts.benchmark.prepare_tokens", "--documents", "300", "--mean_words", "40"]
    command += ["--folder", str(tmp_path / "work"), "--json", str(tmp_path / "figures.json")]
    command += ["--tokenizer_name_or_path", str(tokenizer), "--plain_documents", "20"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr
    figures = read_json(tmp_path / "figures.json")
    assert figures["documents"] == 300 and figures["mean_target_tokens"] == pytest.approx(27, rel=0.1)
    assert 0 < figures["peak_memory_of_imports_gb"] <= figures["peak_memory_gb"] < 2
    assert f"{figures['prepared_documents_per_second']:,.2f}" in process.stdout
    padding = [figures[f"percent_padding_of_{name}"] for name in ("batches_of_8", "random_batches_of_24")]
    assert 0 < padding[0] < padding[1] < 100 and 0 < figures["percent_padding_of_batches_of_16384_tokens"] < 100
    assert 0 < figures["plan_epoch_seconds"] < 1
    words = [len(line.split()) for line in read_lines(tmp_path / "work" / "train.source")]
    assert sum(words) / len(words) == pytest.approx(40, rel=0.1)
