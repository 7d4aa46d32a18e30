"""The rules by which the structure is counted, on a made-up checkout; and the traced programs of this one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benchmark.count_structure import (
    Counted,
    classes_of_flags,
    functions_with,
    late_imports,
    statements,
    table,
    trace_both,
)

ROOT = Path(__file__).parents[2]
TRACE = ROOT / "scripts" / "benchmark" / "trace_text.py"

FINETUNE = """
from __future__ import annotations
import os
try:
    import fast
except ImportError:
    fast = None

def run(arguments: Training) -> None:
    import torch
    if TYPE_CHECKING:
        import numpy
    def inner():
        from a import b, c

run_command(Training, "text", run)
"""
FLAGS = '''
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch

@dataclass(frozen=True)
class Shared:
    data: Data

@dataclass(frozen=True)
class Training(Shared):
    def check(self) -> None: ...

@dataclass
class Decision:
    arguments: Training

def whole(model, *, arguments: "Training | None" = None): ...
def inherited(arguments: Shared): ...
def group(data: Data): ...
def small(arguments: Small): ...
run_command(Small, "text", small)

class Small:
    async def method(self, arguments: Training): ...
'''
FILES = {
    "finetune.py": FINETUNE,
    "run_eval.py": "def run(arguments: Training): ...\n",
    "utils/flags.py": FLAGS,
    "bart/model.py": "class Model:\n    def generate(self):\n        import late\n",
    "scripts/run_summarization.sh": (
        'source "$(dirname -- "${BASH_SOURCE[0]}")/lib/strict.sh"\nsource "$root/scripts/lib/arguments.sh"\n'
        'usage="run_summarization.sh [LR [BS]]\ndefault:   1e-4 24"\nLR=${1:-1e-4}\n# LR is high\nCOLOR=1\n'
    ),
    "scripts/lib/strict.sh": "BS=1\n",
    "scripts/lib/arguments.sh": "  # argument LR\nflags=(--learning_rate $LR)\n",
    "scripts/lib/unused.sh": "LR=3\n",
    "scripts/params/cnn_params.sh": "_train() { # LR BS\n",
    "README.md": "run_summarization.sh <LR>\nrun_pretraining.sh <LR>\n| `LR` | 1e-4 |\n",
    "docs/training.md": "# LR of a training\nnothing\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_functions_that_take_all_flags(checkout: Path) -> None:
    whole, small = classes_of_flags(checkout)
    assert whole == {"Training", "Shared"} and small == {"Small"}
    names = [found.split()[1] for found in functions_with(checkout, whole)]
    assert sorted(names) == ["Decision", "inherited", "method", "run", "run", "whole"]
    assert [found.split()[1] for found in functions_with(checkout, small)] == ["small"]


def test_late_imports_are_those_within_functions(checkout: Path) -> None:
    found = [line.partition(" ")[2] for line in late_imports(checkout)]
    assert found == ["import torch", "from a import b, c", "import late"]


def test_statements_of_an_argument(checkout: Path) -> None:
    places = [line.split()[0] for line in statements(checkout, "LR")]
    assert places == [
        "scripts/run_summarization.sh:3",
        "scripts/run_summarization.sh:4",
        "scripts/run_summarization.sh:5",
        "scripts/lib/arguments.sh:2",
        "scripts/params/cnn_params.sh:1",
        "README.md:1",
        "README.md:3",
        "docs/training.md:1",
    ]


def test_a_column_for_each_checkout() -> None:
    title, row = table([Counted("old", {"late imports": ["a", "b"]}), Counted("new", {"late imports": []})])
    assert title.split() == ["old", "new"] and row.split() == ["late", "imports", "2", "0"]


def test_what_is_traced(tmp_path: Path) -> None:
    """A file that gives the text back, one that hands a dataclass on, one that only looks; nothing after the step."""
    (tmp_path / "utils").mkdir()
    modules = {
        "__init__": "",  # else a package of that name that lies elsewhere would be found
        "lines": "def read():\n    yield 'some marked text'\n",
        "tokens": (
            "from dataclasses import dataclass\nimport numpy as np\n@dataclass\nclass Tokens:\n    ids: object\n"
            "def encode(text):\n    return Tokens([np.array([[1, 7, 8, 9]])])\n"
        ),
        "look": "def count(tokens):\n    a, b = (tokens for _ in range(2))\n    return 4\n",
        "other": "def load(path):\n    return [7, 8, 1, 9]\n",
        "module": "def training_step(batch):\n    return 0\n",
        "late": "def write(text):\n    return text\n",
    }
    for name, text in modules.items():
        (tmp_path / "utils" / f"{name}.py").write_text(text)
    (tmp_path / "finetune.py").write_text(
        "from utils import late, lines, look, module, other, tokens\n"
        "for text in lines.read():\n    encoded = tokens.encode(text)\n"
        "look.count(encoded)\nother.load('x')\nmodule.training_step(0)\nlate.write('some marked text')\n"
    )
    task = {"program": "finetune.py", "arguments": [], "texts": ["marked"], "ids": [7, 8, 9]}
    (tmp_path / "task.json").write_text(json.dumps({**task, "output": str(tmp_path / "output.json")}))
    subprocess.run([sys.executable, str(TRACE), str(tmp_path), str(tmp_path / "task.json")], check=True, timeout=60)
    assert json.loads((tmp_path / "output.json").read_text()) == [
        ["utils/lines.py", "read", True],
        ["utils/tokens.py", "encode", False],
        ["utils/tokens.py", "encode", True],
        ["utils/look.py", "count", False],
    ]


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.benchmark.count_structure", "--root", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert process.returncode == 2
    assert process.stderr == f"error: --root {tmp_path}: is no checkout of this project, it has no finetune.py\n"


@pytest.mark.slow
def test_a_text_of_this_checkout_passes_the_model() -> None:
    ways = {goal: [file for file, _, gave_back in notes if gave_back] for goal, notes in trace_both(ROOT).items()}
    for way, last in ((ways["loss"], "utils/training/module.py"), (ways["scores"], "utils/evaluation/rouge.py")):
        assert way[0] == "utils/data/line_files.py" and way[-1] == last
        assert "bart/modeling/modeling_bart.py" in way
    assert "bart/modeling/layers/fused_cross_entropy.py" in ways["loss"]
    assert "bart/generation/beam_search.py" in ways["scores"]
