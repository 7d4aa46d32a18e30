"""tests/README.md: the faults are those that the project promises to survive, and their tests are there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`(?: \((slow)\))?")

FAULTS = [
    "SIGKILL during training",
    "SIGKILL during an evaluation",
    "a journal of an evaluation is damaged, or of another one",
    "SIGKILL during a save",
    "a parent is killed before its workers watch it",
    "SIGINT, SIGTERM, SIGUSR1",
    "a disk is or becomes full",
    "a folder cannot be written to",
    "a checkpoint is damaged",
    "tokens are damaged, or a file changes while it is read",
    "NaN or infinity",
    "a process dies or hangs",
    "a process dies, with `MAX_RESTARTS`",
    "memory runs out",
    "descriptors, shared memory, inodes, processes or threads run out",
    "one machine of many lacks something",
    "source and target have different numbers of lines",
    "U+2028, U+2029, NEL, VT, FF, FS, CR, CRLF, a byte order mark, an empty line, a million characters",
    "invalid UTF-8; NUL",
    "any file as data",
    "any file in a model folder, beside the weights",
    "another vocabulary, an empty tokenizer folder, missing or surplus weights",
    "any file as weights",
    "a malicious pickle",
    "a hostile archive",
    "a web page or half a file instead of data",
    "a results folder in use",
    "two runs in one folder",
    "a source longer than the model's positions",
    "a checkout or a results folder with an odd name",
    "a locale that is not UTF-8",
    "the clock is set",
    "`--resume` with other settings",
]
OF_FAULTS_ALONE = (
    *("deaths", "evaluation_resume", "folder_in_use", "full_disk", "hostile_lines", "lost_numbers", "system_limits"),
    "told_to_end",
)


def functions(path: Path) -> dict[str, str]:
    """The name of each function of a file, and the source of its decorators and of the file's marks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    marks = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    common = " ".join(mark for mark in marks if mark.startswith("pytestmark"))
    return {
        node.name: " ".join([common, *map(ast.unparse, node.decorator_list)])
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }


def table() -> list[str]:
    lines = (TESTS / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


def test_the_faults() -> None:
    assert [row.split(" | ")[0].removeprefix("| ") for row in table()] == FAULTS


@pytest.mark.parametrize("name", OF_FAULTS_ALONE)
def test_every_test_of_a_fault_is_named(name: str) -> None:
    tests = {test for test in functions(TESTS / "end_to_end" / f"test_{name}.py") if test.startswith("test_")}
    named = {test for row in table() for file, test, _ in NAMED.findall(row) if file == f"test_{name}.py"}
    assert tests - named == set()


def test_every_fault_has_tests_and_they_exist() -> None:
    for row in table():
        named = NAMED.findall(row)
        assert named, row
        for file, name, slow in named:
            path = TESTS / file if "/" in file else TESTS / "end_to_end" / file
            found = functions(path)
            assert name in found, f"{file}::{name}"
            is_slow = "pytest.mark.slow" in found[name] and "marks=" not in found[name]
            assert is_slow == bool(slow), f"{file}::{name} is {'not ' * (not is_slow)}slow"
