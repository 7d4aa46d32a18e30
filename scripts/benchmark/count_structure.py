"""Count how much of this project a reader has to know, in a table with a column for each checkout.

python -m scripts.benchmark.count_structure --root /tmp/older_checkout,.

The rows:

files to the loss, files to the scores
    finetune.py and run_eval.py of the checkout are run with its models/bart_mini on seven made-up texts, one of them
    marked, on the CPU, in one process: two steps with validation, and a search with 4 beams. The text passes a file if
    a function of it gives back, that is returns or yields, the text; or its token ids, in a list, tuple, array or
    tensor; or any tensor, within the first training step or the first call of ``generate``; or, on the way to the
    scores, its summary. It may lie in lists, tuples, mappings and dataclasses, three of them within each other.
    Comprehensions are functions too, a generator expression only if another file consumes it. The way to the loss ends
    with the first training step, that to the scores when rouge.py returns for the last time. Below the table the files
    stand in the order in which they first gave back.
files ... that only look
    A function of these is given the same, and none gives it back: they count, compare, keep or report.
functions with all flags
    Functions of finetune.py, run_eval.py and utils/ with a parameter that is annotated with the class of a program's
    whole command line (what finetune.py, run_eval.py or the commands behind them hand to run_command, and what it
    inherits from). A dataclass with such a field counts as one. A group of settings, which is a part of it, does not.
... of small commands
    The same with the classes that modules of utils/ hand to run_command: each has a few flags, and one module.
late imports
    Import statements within functions of finetune.py, run_eval.py, bart/ and utils/. Those under ``if TYPE_CHECKING``,
    and whatever stands at the top level of a module, do not count.
modules directly in utils
    The *.py files there, but for __init__.py.
lines of README.md
statements of LR
    Lines that a change of the argument LR of run_summarization.sh (its name, place, default, check or flag) changes
    too: those that name it in this script, in what it sources, in the presets, README.md and docs/, and the line of
    defaults in its usage. Comment lines, and lines that name another run_*.sh, do not count.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bart.errors import InputError
from utils.cli.options import option
from utils.cli.run import run_command

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = ("finetune.py", "run_eval.py")
_WHAT_THEY_RUN = ("utils/commands/fine_tune.py", "utils/commands/evaluate.py")  # if they hold no logic themselves
_NEEDED = (*ENTRY_POINTS, "utils", "bart", "README.md", "scripts/run_summarization.sh", "models/bart_mini/config.json")
_ARGUMENT = "LR"
_LONGEST_RUN = 240  # seconds of a traced program
_NOUNS = ("sum", "mean", "largest value", "first name", "length", "product")
_MARKED = "Give the number of zebras that cross the river between two given days of a month, counted by hand."
_FIRST_IDS = 2  # of the marked text, that the text before it may change


@dataclass
class CountArguments:
    """The command line."""

    root: str = option(str(ROOT), "Input", "checkouts, separated by commas: the columns")
    trace: bool = option(True, "Input", "run the programs, which takes a minute for each checkout")
    details: bool = option(False, "Output", "say where each counted function, import and statement is")

    def check(self) -> None:
        for root in self.root.split(","):
            for name in _NEEDED:
                if not (Path(root) / name).exists():
                    raise InputError(f"--root {root}: is no checkout of this project, it has no {name}")


@dataclass
class Counted:
    """What was found in a checkout: row by row, each thing that counts."""

    title: str
    rows: dict[str, list[str]] = field(default_factory=dict)


def count(root: Path, trace: bool) -> Counted:
    """Count everything in one checkout."""
    counted = Counted(f"{root.name} {_commit(root)}".strip())
    rows = counted.rows
    if trace:
        for goal, notes in trace_both(root).items():
            gave_back = {file for file, _, gave in notes if gave}
            rows[f"files to the {goal}"] = [f"{file}: {function}" for file, function, gave in notes if gave]
            rows[f"files to the {goal} that only look"] = [
                f"{file}: {function}" for file, function, _ in notes if file not in gave_back
            ]
    whole, small = classes_of_flags(root)
    modules = (path.name for path in sorted((root / "utils").glob("*.py")))
    rows["functions with all flags"] = functions_with(root, whole)
    rows["... of small commands"] = functions_with(root, small)
    rows["late imports"] = late_imports(root)
    rows["modules directly in utils"] = [name for name in modules if name != "__init__.py"]
    rows["lines of README.md"] = _lines(root / "README.md")
    rows[f"statements of {_ARGUMENT}"] = statements(root, _ARGUMENT)
    return counted


def python_files(root: Path, *folders: str) -> dict[str, ast.Module]:
    """Parse the entry points and the modules of the folders; return them by their path within the checkout."""
    paths = [root / name for name in ENTRY_POINTS]
    paths += [path for folder in folders for path in sorted((root / folder).rglob("*.py"))]
    return {str(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def classes_of_flags(root: Path) -> tuple[set[str], set[str]]:
    """Name the classes of whole command lines: those of the entry points, and those of the small commands."""
    trees = python_files(root, "utils")
    given: dict[bool, set[str]] = {True: set(), False: set()}  # by whether an entry point hands it on
    bases: dict[str, set[str]] = {}
    for file, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in ("run_command", "parse_arguments") and isinstance(first, ast.Name):
                    given[file in (*ENTRY_POINTS, *_WHAT_THEY_RUN)].add(first.id)
    whole = given[True]
    while inherited := {base for name in whole for base in bases.get(name, ()) if base in bases} - whole:
        whole |= inherited
    return whole, {name for name in given[False] if name in bases} - whole


def functions_with(root: Path, classes: set[str]) -> list[str]:
    """List functions with a parameter, and dataclasses with a field, that is annotated with one of the classes."""
    found = []
    for file, tree in python_files(root, "utils").items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                annotations = [parameter.annotation for parameter in parameters]
            elif isinstance(node, ast.ClassDef) and "dataclass" in " ".join(map(ast.unparse, node.decorator_list)):
                annotations = [line.annotation for line in node.body if isinstance(line, ast.AnnAssign)]
            else:
                continue
            if any(names_in(annotation) & classes for annotation in annotations if annotation is not None):
                found.append(f"{file}:{node.lineno} {node.name}")
    return found


def names_in(annotation: ast.expr) -> set[str]:
    """The names in an annotation, which may be a string."""
    return set(re.findall(r"\w+", ast.unparse(annotation)))


def late_imports(root: Path) -> list[str]:
    """Import statements within functions."""
    return [
        f"{file}:{node.lineno} {ast.unparse(node)}"
        for file, tree in python_files(root, "utils", "bart").items()
        for node in _imports_in_functions(tree, within=False)
    ]


def _imports_in_functions(node: ast.AST, within: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    if isinstance(node, ast.Import | ast.ImportFrom) and within:
        yield node
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return
    within = within or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    for child in ast.iter_child_nodes(node):
        yield from _imports_in_functions(child, within)


def statements(root: Path, name: str) -> list[str]:
    """The lines that state something about an argument of run_summarization.sh."""
    script = root / "scripts" / "run_summarization.sh"
    files = [*_sourced(script), *sorted((root / "scripts" / "params").glob("*.sh"))]
    files += [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    found = []
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            is_comment = file.suffix == ".sh" and line.lstrip().startswith("#")
            is_default = file == script and line.startswith("default:")
            other_script = set(re.findall(r"run_\w+\.sh", line)) - {script.name} and file.suffix == ".md"
            if (is_default or re.search(rf"\b{name}\b", line)) and not is_comment and not other_script:
                found.append(f"{file.relative_to(root)}:{number} {line.strip()}")
    return found


def _sourced(script: Path) -> list[Path]:
    """A shell script, and those of the checkout that it sources by a path that ends in a file name written out."""
    names = re.findall(r'^source ".*?((?:lib/)?\w+\.sh)"$', script.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [script, *(script.parent / name for name in names)]


def trace_both(root: Path) -> dict[str, list[tuple[str, str, bool]]]:
    """File, function, and whether it gave back, on the way of a text to the loss and to the scores."""
    from tokenizers import Tokenizer

    model = root / "models" / "bart_mini"
    ids = Tokenizer.from_file(str(model / "tokenizer.json")).encode(f" {_MARKED}", add_special_tokens=False).ids
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_texts(folder / "data", marked="train")
        training = {
            "--data_dir": folder / "data",
            "--config_path": model / "config.json",
            "--model_name_or_path": model,
            "--output_dir": folder / "run",
            "--gpus": 0,
            "--num_workers": 0,
            "--train_batch_size": 8,
            "--max_steps": 2,
            "--warmup_steps": 1,
            "--max_target_length": 40,
            "--n_test": 0,
        }
        flags = [str(text) for pair in training.items() for text in pair]
        to_loss = _traced(root, folder, "finetune.py", [*flags, "--no-freeze_embeds"], [_MARKED], ids)

        # What the summary will be is known from a run before.
        write_texts(folder / "data", marked="test")
        evaluation = [str(model), str(model / "config.json"), str(folder / "data"), str(folder / "evaluation")]
        evaluation += ["--type_path", "test", "--bs", "8", "--device", "cpu", "--eval_beams", "4"]
        _traced(root, folder, "run_eval.py", evaluation, [_MARKED], ids)
        summary = _lines(folder / "evaluation" / "test_generations.txt")[_marked_line()].strip()
        to_scores = _traced(root, folder, "run_eval.py", evaluation, [_MARKED, summary], ids)
    return {"loss": to_loss, "scores": to_scores}


def write_texts(folder: Path, marked: str) -> None:
    """Write seven pairs into each split; the marked text stands in the middle of one of them."""
    folder.mkdir(exist_ok=True)
    for split in ("train", "val", "test"):
        sources = [f"Return the {noun} of a {split} list and raise an error if there is none." for noun in _NOUNS]
        sources.insert(_marked_line(), _MARKED if split == marked else f"Return nothing, as a {split} list has no end.")
        (folder / f"{split}.source").write_text("".join(f"{source}\n" for source in sources))
        (folder / f"{split}.target").write_text("".join(f"{source[:30]} {split}\n" for source in sources))


def _marked_line() -> int:
    return len(_NOUNS) // 2


def _traced(
    root: Path, folder: Path, program: str, arguments: list[str], texts: list[str], ids: list[int]
) -> list[tuple[str, str, bool]]:
    """Run a program under trace_text.py. Raises InputError if it fails."""
    task, output = folder / "task.json", folder / "output.json"
    found = {"texts": texts, "ids": ids[_FIRST_IDS:], "output": str(output)}
    task.write_text(json.dumps({"program": program, "arguments": arguments, **found}))
    command = [sys.executable, str(Path(__file__).with_name("trace_text.py")), str(root), str(task)]
    environment = {**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""}
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_LONGEST_RUN)
    except subprocess.TimeoutExpired:
        raise InputError(f"--root {root}: {program} has not ended after {_LONGEST_RUN} seconds") from None
    if run.returncode != 0:
        last = ((run.stdout + run.stderr).strip().splitlines() or ["no output"])[-1]
        raise InputError(f"--root {root}: {program} failed: {last}")
    return [tuple(note) for note in json.loads(output.read_text())]


def _commit(root: Path) -> str:
    run = subprocess.run(["git", "-C", str(root), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return run.stdout.strip()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def table(columns: list[Counted]) -> Iterator[str]:
    """The counts, a column for each checkout."""
    width = max(24, *(len(column.title) + 2 for column in columns))
    yield f"{'':34}" + "".join(f"{column.title:>{width}}" for column in columns)
    for row in columns[0].rows:
        yield f"{row:34}" + "".join(f"{len(column.rows[row]):{width}}" for column in columns)


def details(columns: list[Counted], wanted: str) -> Iterator[str]:
    """What was counted in the rows whose names begin with ``wanted``."""
    for column in columns:
        for row, items in column.rows.items():
            if row.startswith(wanted) and items and row != "lines of README.md":
                yield from ("", f"{column.title}, {row}:", *(f"  {item}" for item in items))


def main(arguments: CountArguments) -> None:
    """Count and print."""
    columns = [count(Path(root).resolve(), arguments.trace) for root in arguments.root.split(",")]
    lines = [*table(columns), *details(columns, "" if arguments.details else "files")]
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(run_command(CountArguments, (__doc__ or "").partition("\n")[0], main))
