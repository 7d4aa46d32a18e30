"""Who imports whom: read from the import statements, nothing is imported."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENTRY_POINTS = {"finetune", "run_eval"}
MAY_IMPORT_LIGHTNING = (
    "utils.training",
    "utils.recipes.fine_tune",
    "utils.checkpoint.checkpoint_io",
)
# The rooms of utils, top to bottom: each imports only from itself and from those below it. Rooms of a line are apart.
ROOMS = [
    {"commands"},
    {"recipes"},
    {"training", "reporting"},
    {"evaluation", "corpora"},
    {"data"},
    {"checkpoint"},
    {"cli"},
    {"runtime"},
    {"io"},
]
# What each part of bart may import of bart, beside bart.errors and the like at its top. The longest name counts.
BART_PARTS = {
    "bart.configuration": set(),
    "bart.tokenization": set(),
    "bart.modeling.kernels": set(),
    "bart.modeling.layers": {"bart.configuration", "bart.modeling.kernels"},
    "bart.checkpoints": {"bart.configuration"},
    "bart.generation": {"bart.configuration", "bart.modeling.layers", "bart.modeling.kernels"},
    "bart.modeling": {"bart.configuration", "bart.modeling.layers", "bart.checkpoints", "bart.generation"},
}


def module_names() -> dict[str, Path]:
    """Every module of this project but the tests, by its dotted name."""
    paths = [
        *(ROOT / f"{name}.py" for name in ENTRY_POINTS),
        *(ROOT / "bart").rglob("*.py"),
        *(ROOT / "utils").rglob("*.py"),
    ]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imported(path: Path) -> set[str]:
    """Dotted names in the import statements; of ``from a import b`` both a and a.b."""
    package = path.relative_to(ROOT).parent.parts
    names = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return names


def is_within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_bart_stands_alone() -> None:
    for module, path in module_names().items():
        if is_within(module, "bart"):
            for forbidden in ("utils", "pytorch_lightning", "lightning"):
                assert not any(is_within(name, forbidden) for name in imported(path)), module


def part_of_bart(name: str) -> str | None:
    parts = [part for part in BART_PARTS if is_within(name, part)]
    return max(parts, key=len, default=None)


def test_the_parts_of_bart_build_on_each_other() -> None:
    seen = set()
    for module, path in module_names().items():
        part = part_of_bart(module)
        if part is None:
            continue
        seen.add(part)
        for name in imported(path):
            other = part_of_bart(name)
            assert other in (None, part, *BART_PARTS[part]), f"{module} imports {name}"
    assert seen == BART_PARTS.keys()


def test_a_room_imports_only_rooms_below_it() -> None:
    level = {room: number for number, rooms in enumerate(ROOMS) for room in rooms}
    seen = set()
    for module, path in module_names().items():
        if not module.startswith("utils."):
            continue
        room = module.split(".")[1]
        seen.add(room)
        for name in imported(path):
            other = name.split(".")[1] if name.startswith("utils.") else room
            assert other == room or level[other] > level[room], f"{module} imports {name}"
    assert seen == level.keys()


def test_only_imports_within_utils_are_relative() -> None:
    """Installed, what is under utils has another name; so it must not call itself utils."""
    for module, path in module_names().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import) and is_within(module, "utils"):
                assert not any(is_within(alias.name, "utils") for alias in node.names), module
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 or is_within(module, "utils"), f"{module}: relative import"
                assert node.level or not is_within(module, "utils") or not is_within(node.module, "utils"), module


def test_lightning_stays_where_it_belongs() -> None:
    users = {
        module
        for module, path in module_names().items()
        if any(is_within(name, "pytorch_lightning") for name in imported(path))
    }
    assert all(module in ENTRY_POINTS or module.startswith(MAY_IMPORT_LIGHTNING) for module in users), users
    assert {"utils.recipes.fine_tune", "utils.training.module"} <= users


def test_nothing_imports_the_entry_points() -> None:
    for module, path in module_names().items():
        assert not ENTRY_POINTS & imported(path), module
