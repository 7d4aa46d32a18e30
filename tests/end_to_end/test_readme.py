"""What the README and the documents say can be done, can be done; and their links lead somewhere."""

import ast
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import yaml

from bart.modeling.modeling_bart import BartForConditionalGeneration
from scripts.benchmark import (
    checkpoint_cost,
    compare_generation,
    compare_summarizing,
    compare_training,
    compare_versions,
    count_launches,
    count_shapes,
    count_structure,
    gpu_acceptance,
    long_documents,
    prepare_tokens,
    profile_generation,
    rerank_candidates,
    soak,
)
from tests.tiny_setup import TinySetup
from utils.cli.evaluation_args import EvaluationArguments
from utils.cli.options import Arguments
from utils.cli.parser import build_parser
from utils.cli.training_args import TrainingArguments
from utils.cli.tuning_args import TuningArguments
from utils.commands.compare_runs import CompareRunsArguments
from utils.commands.export_model import ExportArguments
from utils.commands.make_student import StudentArguments
from utils.commands.summarize import SummarizeArguments
from utils.commands.verify_published import VerifyArguments
from utils.corpora.get_data import GetDataArguments

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = sorted([README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
# Beside them, what has links, and titles that links lead to.
PAGES = [*DOCUMENTS, ROOT / "data/README.md", ROOT / "models/bart_mini/README.md", ROOT / "tests/README.md"]
LONGEST_README = 220  # lines
LARGEST_PICTURE = 200_000  # bytes

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


@cache
def text_of(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def code_blocks(language: str, documents: Iterable[Path] = DOCUMENTS) -> list[str]:
    # Blocks inside lists are indented as their list is.
    pattern = re.compile(rf"^( *)```{language}\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
    found = [match for document in documents for match in pattern.findall(text_of(document))]
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def without_code(document: Path) -> str:
    return re.sub("^ *```.*?^ *```", "", text_of(document), flags=re.MULTILINE | re.DOTALL)


ALL_TEXT = "\n".join(map(text_of, DOCUMENTS))
COMMANDS = "\n".join(code_blocks("bash")).replace("\\\n", " ")


def test_the_readme_is_short_and_begins_with_the_two_commands_and_the_picture() -> None:
    lines = text_of(README).splitlines()
    assert len(lines) < LONGEST_README
    first_screen = "\n".join(lines[:20])
    (block,) = re.findall("```bash\n(.*?)```", first_screen, flags=re.DOTALL)
    assert re.findall(r"^bash (\S+)", block, flags=re.MULTILINE) == ["scripts/quickstart.sh", "scripts/test.sh"]
    (picture,) = re.findall(r"!\[[^\]]+\]\((\S+)\)", first_screen)
    content = (ROOT / picture).read_bytes()
    assert content.startswith(b"\x89PNG") and len(content) < LARGEST_PICTURE


def test_the_two_lists_of_defaults_agree() -> None:
    usage = re.search(r"run_summarization\.sh (<.*?>)\n", COMMANDS.replace("\\\n", " "))
    assert usage is not None
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", text_of(README), flags=re.MULTILINE)
    defaults = {}
    for names, values in rows:
        defaults |= dict(zip(re.findall(r"[A-Z_]+", names), values.replace("`", "").split(", "), strict=True))
    in_order = [defaults[name] for name in re.findall(r"<([A-Z_]+)>", usage[1])]
    assert len(in_order) == 16
    assert f"`{' '.join(in_order)}`" in " ".join(text_of(ROOT / "docs/training.md").split())


def test_the_workflow_runs_the_two_commands_on_every_python() -> None:
    (workflow,) = (ROOT / ".github/workflows").glob("*.yml")
    (job,) = yaml.safe_load(workflow.read_text())["jobs"].values()
    assert job["strategy"]["matrix"] == {
        "python": ["3.11", "3.12", "3.13", "3.14"],
        "command": ["bash scripts/quickstart.sh", "bash scripts/test.sh"],
    }
    assert [step["run"] for step in job["steps"] if "run" in step] == ["${{ matrix.command }}"]


def test_the_hooks_run_what_the_test_script_runs() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"] for hook in repository["hooks"]]
    programs = {Path(entry.split()[0]).name for entry in entries if entry != "bash scripts/test.sh"}
    assert programs == {"ruff", "mypy", "shellcheck", "hadolint"} and len(entries) == 5
    script = (ROOT / "scripts/test.sh").read_text()
    assert all(program in script for program in programs)


def test_their_scripts_and_presets_are_there() -> None:
    scripts = set(re.findall(r"scripts/[\w/]+\.(?:sh|sbatch)", ALL_TEXT))
    scripts |= set(re.findall(r"^python (\w+\.py)", COMMANDS, re.M))
    assert len(scripts) > 15
    assert not [script for script in scripts if not (ROOT / script).is_file()]
    presets = set(re.findall(r"source (scripts/params/\w+\.sh) && (\w+)", COMMANDS))
    assert len(presets) > 4
    for file, preset in presets:
        printed = subprocess.run(["bash", "-c", f"source {file} && {preset}"], cwd=ROOT, capture_output=True, text=True)
        assert printed.returncode == 0 and len(printed.stdout.split()) >= 8, (file, preset)


def test_files_and_folders_that_they_name_are_there() -> None:
    """Those of the repository: in spans of code, beginning with one of its folders."""
    named = set(re.findall(r"`((?:bart|utils|tests|configs|models|docs|requirements)/[\w/.-]+)`", ALL_TEXT))
    assert len(named) > 15
    assert not [name for name in named if not (ROOT / name).exists()]


def test_modules_that_they_run_are_there() -> None:
    modules = set(re.findall(r"python -m ((?:utils|scripts)\.[\w.]*\w)[ \n`]", ALL_TEXT))
    assert len(modules) > 8
    assert not [name for name in modules if not (ROOT / (name.replace(".", "/") + ".py")).is_file()]


def test_methods_of_the_model_that_they_name_are_there() -> None:
    named = set(re.findall(r"model\.(\w+)\(", ALL_TEXT))
    assert {"generate", "prepack"} <= named
    assert not [name for name in named if not hasattr(BartForConditionalGeneration, name)]


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
    "scripts/make_student.sh": StudentArguments,
    "scripts/summarize.sh": SummarizeArguments,
    "scripts/compare_runs.sh": CompareRunsArguments,
    "scripts/tune_search.sh": TuningArguments,
    "scripts/benchmark/soak.sh": soak.SoakArguments,
    "scripts/benchmark/gpu_acceptance.sh": gpu_acceptance.AcceptanceArguments,
    "scripts.benchmark.prepare_tokens": prepare_tokens.BenchmarkArguments,
    "scripts.benchmark.profile_generation": profile_generation.ProfileArguments,
    "scripts.benchmark.checkpoint_cost": checkpoint_cost.CostArguments,
    "scripts.benchmark.compare_generation": compare_generation.CompareArguments,
    "scripts.benchmark.compare_summarizing": compare_summarizing.SummarizingArguments,
    "scripts.benchmark.compare_training": compare_training.CompareArguments,
    "scripts.benchmark.compare_versions": compare_versions.VersionsArguments,
    "scripts.benchmark.count_launches": count_launches.CountArguments,
    "scripts.benchmark.count_shapes": count_shapes.ShapeArguments,
    "scripts.benchmark.count_structure": count_structure.CountArguments,
    "scripts.benchmark.long_documents": long_documents.LongDocumentsArguments,
    "scripts.benchmark.rerank_candidates": rerank_candidates.RerankArguments,
}


def flags_of(arguments: type[Arguments]) -> set[str]:
    return set(build_parser(arguments, "")._option_string_actions)


OTHERS = {
    "scripts/setup_env.sh": {"--dev"},
    "scripts/lock_requirements.sh": {"--keep-versions"},
    "pip": {"--no-deps"},
    "pip-audit": {"--strict"},
    "scripts/quickstart.sh": {"--controls", *flags_of(TrainingArguments)},
}


def test_their_flags_are_known() -> None:
    known = flags_of(VerifyArguments).union(*map(flags_of, PROGRAMS.values()), *OTHERS.values())
    named = set(re.findall(r"`[^`\n]*?(--[a-z][a-z0-9_-]+)", ALL_TEXT))
    assert len(named) > 15
    assert named <= known


def test_their_commands_have_flags_of_their_programs() -> None:
    """In blocks of commands, and in the text."""
    text = "\n".join(map(without_code, DOCUMENTS))
    commands = [line.partition(" #")[0] for line in COMMANDS.splitlines()] + re.findall("`([^`]+)`", text)
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
def test_their_help_commands_run(entry_point: str) -> None:
    assert f"python {entry_point} --help" in COMMANDS
    process = subprocess.run([sys.executable, entry_point, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0
    assert "default" in process.stdout


# It sets the environment up, before it looks at an argument.
_WITHOUT_HELP = {"scripts/test.sh"}


@pytest.mark.parametrize("script", sorted(set(re.findall(r"bash (scripts/[\w/]+\.sh)", COMMANDS)) - _WITHOUT_HELP))
def test_their_scripts_say_how_they_are_used(script: str) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    process = subprocess.run(
        ["bash", script, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"usage: bash {script}")


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ((?:utils|scripts)\.[\w.]+)", COMMANDS))))
def test_their_modules_say_how_they_are_used(module: str) -> None:
    process = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("usage: ")


def run_example(example: str, folder: Path) -> str:
    """The output of an example in Python that is run in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", example]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout


def local(example: str, replaced: dict[str, Path]) -> str:
    """The example with names in quotes replaced by paths."""
    for name, path in replaced.items():
        assert re.search(f"['\"]{re.escape(name)}['\"]", example), name
        example = example.replace(name, str(path))
    return example


def the_example(document: str, of: str = "") -> str:
    """The only example in Python of a document, or the only one that holds a text."""
    (example,) = (block for block in code_blocks("python", [ROOT / document]) if of in block)
    return example


# They need other packages: test_many_texts.py and test_other_engines.py run them (slow).
_RUN_ELSEWHERE = {"many_texts.md", "other_engines.md"}


def test_every_example_in_python_is_run_here() -> None:
    with_examples = [document.name for document in DOCUMENTS if code_blocks("python", [document])]
    assert [name for name in with_examples if name not in _RUN_ELSEWHERE] == [
        "first_token.md",
        "generation.md",
        "reliability.md",
        "serving.md",  # by test_serving.py
    ]


def test_the_example_of_a_search_runs(setup: TinySetup, whole_run: Path, tmp_path: Path) -> None:
    """With the checkpoint, the tokenizer and the configuration replaced by local ones."""
    example = local(
        the_example("docs/generation.md", of="BartForConditionalGeneration"),
        {
            "results/_epoch1_step2000.ckpt": sorted(whole_run.glob("*.ckpt"))[0],
            "facebook/bart-large-cnn": setup.tokenizer,
            "configs/config.json": tmp_path / "config.json",
        },
    )
    # A model of 20 steps may want to end at once: that depends on its corpus, which is Python's own.
    settings = {**json.loads(setup.config.read_text()), "min_length": 12}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (summary,) = ast.literal_eval(run_example(example, tmp_path))
    assert isinstance(summary, str) and summary


def test_the_example_of_a_summarizer_runs(tmp_path: Path) -> None:
    (tmp_path / "my_texts.txt").write_text("Return the number of lines.\n\nClose the file.\n")
    model = {"models/bart_mini": ROOT / "models/bart_mini"}
    printed = run_example(local(the_example("docs/generation.md", of="Summarizer"), model), tmp_path).splitlines()
    assert len(printed) == 2 + 3 and len(ast.literal_eval(printed[1])) == 2 and printed[3] == ""


def test_the_example_of_another_row_runs(whole_run: Path, tmp_path: Path) -> None:
    example = local(the_example("docs/first_token.md"), {"facebook/bart-large": whole_run / "best_tfmr"})
    run_example(example, tmp_path)
    written = {path.name for path in (tmp_path / "bart_large_other_row").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= written


def test_the_example_of_a_checkpoint_runs(whole_run: Path, tmp_path: Path) -> None:
    checkpoint = sorted(whole_run.glob("*.ckpt"))[0]
    example = local(the_example("docs/reliability.md"), {"results/_epoch1_step2000.ckpt": checkpoint})
    count, learning_rate = run_example(example, tmp_path).split()
    assert int(count) > 10 and float(learning_rate) > 0


def titles(document: Path) -> list[str]:
    """The anchors of a document's titles, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", without_code(document), flags=re.MULTILINE)
    anchors = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in found]
    seen: Counter[str] = Counter()
    unique = []
    for anchor in anchors:
        unique.append(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return unique


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", without_code(page))
    for link in links:
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert not anchor or anchor in titles(target), link


def test_every_document_is_reached_from_the_readme() -> None:
    links = re.findall(r"\]\((?!http)([^)#\s]+)", text_of(README))
    assert {path for path in DOCUMENTS if path != README} <= {(ROOT / link).resolve() for link in links}
