"""tests/README.md: every test that it names is there, and the faults are those that the project promises to survive."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`(?: \((slow)\))?")


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


def test_every_fault_has_tests_and_they_exist() -> None:
    lines = (TESTS / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ")][1:]
    assert len(rows) >= 17
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for file, name, slow in named:
            path = TESTS / file if "/" in file else TESTS / "end_to_end" / file
            found = functions(path)
            assert name in found, f"{file}::{name}"
            is_slow = "pytest.mark.slow" in found[name] and "marks=" not in found[name]
            assert is_slow == bool(slow), f"{file}::{name} is {'not ' * (not is_slow)}slow"
