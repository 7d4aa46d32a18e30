"""What the README says can be done, can be done."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benchmark import (
    checkpoint_cost,
    compare_generation,
    compare_training,
    prepare_tokens,
    profile_generation,
    soak,
)
from tests.tiny_setup import TinySetup
from utils.cli.args import EvaluationArguments, TrainingArguments
from utils.cli.command_line import Arguments, build_parser
from utils.commands.compare_runs import CompareRunsArguments
from utils.commands.export_model import ExportArguments
from utils.commands.summarize import SummarizeArguments
from utils.commands.verify_published import VerifyArguments
from utils.corpora.get_data import GetDataArguments

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    # Blocks inside lists are indented as their list is.
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", README, flags=re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def test_its_scripts_and_presets_are_there() -> None:
    commands = "\n".join(code_blocks("bash"))
    scripts = set(re.findall(r"scripts/[\w/]+\.sh", README)) | set(re.findall(r"^python (\w+\.py)", commands, re.M))
    assert len(scripts) > 6
    assert not [script for script in scripts if not (ROOT / script).is_file()]
    presets = set(re.findall(r"source (scripts/params/\w+\.sh) && (\w+)", commands))
    assert len(presets) > 4
    for file, preset in presets:
        printed = subprocess.run(["bash", "-c", f"source {file} && {preset}"], cwd=ROOT, capture_output=True, text=True)
        assert printed.returncode == 0 and len(printed.stdout.split()) >= 8, (file, preset)


# What reads the flags behind each program.
PROGRAMS = {
    "finetune.py": TrainingArguments,
    "scripts/run_summarization.sh": TrainingArguments,
    "scripts/run_pretraining.sh": TrainingArguments,
    "scripts/run_training_benchmark.sh": TrainingArguments,
    "scripts/slurm/run_summarization.sbatch": TrainingArguments,
    "run_eval.py": EvaluationArguments,
    "scripts/run_eval_summarization.sh": EvaluationArguments,
    "scripts/run_inference_benchmark.sh": EvaluationArguments,
    "scripts/verify_published.sh": EvaluationArguments,
    "scripts/get_data.sh": GetDataArguments,
    "scripts/export_hf.sh": ExportArguments,
    "scripts/summarize.sh": SummarizeArguments,
    "scripts/compare_runs.sh": CompareRunsArguments,
    "scripts/benchmark/soak.sh": soak.SoakArguments,
    "scripts.benchmark.prepare_tokens": prepare_tokens.BenchmarkArguments,
    "scripts.benchmark.profile_generation": profile_generation.ProfileArguments,
    "scripts.benchmark.checkpoint_cost": checkpoint_cost.CostArguments,
    "scripts.benchmark.compare_generation": compare_generation.CompareArguments,
    "scripts.benchmark.compare_training": compare_training.CompareArguments,
}
OTHERS = {"scripts/setup_env.sh": {"--dev"}}


def flags_of(arguments: type[Arguments]) -> set[str]:
    return set(build_parser(arguments, "")._option_string_actions)


def test_its_flags_are_known() -> None:
    known = flags_of(VerifyArguments).union(*map(flags_of, PROGRAMS.values()))
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z0-9_-]+)", README))
    assert len(named) > 15
    assert named <= known


def test_its_commands_have_flags_of_their_programs() -> None:
    """In blocks of commands, and in the text."""
    blocks = "\n".join(code_blocks("bash")).replace("\\\n", " ")
    text = re.sub("```.*?```", "", README, flags=re.DOTALL)
    commands = [line.partition(" #")[0] for line in blocks.splitlines()] + re.findall("`([^`]+)`", text)
    named = re.compile(r"(finetune\.py|run_eval\.py|scripts/(?!params/)[\w/]+\.(?:sh|sbatch)|scripts\.benchmark\.\w+)")
    seen = set()
    for command in commands:
        parts = named.split(command)
        flags = set(re.findall(r"(?<=\s)--[a-z][\w-]*", parts[-1]))
        if len(parts) > 1 and flags:
            name = parts[-2]
            assert flags <= (OTHERS[name] if name in OTHERS else flags_of(PROGRAMS[name])), command
            seen.add(name)
    assert len(seen) > 10, seen


@pytest.mark.parametrize("entry_point", ["finetune.py", "run_eval.py"])
def test_its_help_commands_run(entry_point: str) -> None:
    process = subprocess.run([sys.executable, entry_point, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0
    assert "default" in process.stdout


def test_its_python_example_runs(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """With the checkpoint, the tokenizer and the configuration replaced by local ones."""
    (example,) = code_blocks("python")
    checkpoint = sorted(whole_run.glob("*.ckpt"))[0]
    for name, local in (
        ("results/_epoch1_step2000.ckpt", checkpoint),
        ("facebook/bart-large-cnn", setup.tokenizer),
        ("configs/config.json", tmp_path / "config.json"),
    ):
        assert name in example
        example = example.replace(name, str(local))
    # A model of 20 steps may want to end at once: that depends on its corpus, which is Python's own.
    settings = {**json.loads(setup.config.read_text()), "min_length": 12}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    process = subprocess.run([sys.executable, "-c", example], env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    (summary,) = ast.literal_eval(process.stdout)
    assert isinstance(summary, str) and summary
