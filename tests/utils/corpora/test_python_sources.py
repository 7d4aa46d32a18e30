"""Runs a real interpreter in a virtual environment whose packages the test writes."""

import json
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[3]
COMMAND = """
import json
from utils.corpora.python_sources import find_python_sources
sources = find_python_sources()
print(json.dumps([{name: str(path) for name, path in sources.modules.items()}, sources.versions, sources.absent]))
"""


def make_environment(folder: Path, files: list[str]) -> Path:
    """Make an environment with the locked distribution tqdm, made of ``files``, as 9.9; returns its site-packages."""
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    for name in files:
        path = packages / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    information = packages / "tqdm-9.9.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tqdm\nVersion: 9.9\n")
    (information / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    return packages


def find(environment: Path) -> tuple[dict[str, str], dict[str, str], list[str]]:
    process = subprocess.run(
        [environment / "bin" / "python", "-c", COMMAND], cwd=ROOT, check=True, capture_output=True, text=True
    )
    modules, versions, absent = json.loads(process.stdout)
    return modules, versions, absent


def test_the_library_and_the_locked_packages_without_their_tests(tmp_path: Path) -> None:
    files = [
        "tqdm/__init__.py",
        "tqdm/std.py",
        "tqdm/data.txt",
        "tqdm/tests/helper.py",
        "tqdm/test_std.py",
        "tqdm/conftest.py",
        "../../../bin/tqdm.py",
    ]
    packages = make_environment(tmp_path / "environment", files)
    (packages / "tqdm" / "std.py").rename(packages / "tqdm" / "moved.py")  # recorded, but gone
    (packages / "stranger.py").write_text("")  # installed, but of no locked distribution
    modules, versions, absent = find(tmp_path / "environment")
    assert [name for name in modules if name.startswith(("tqdm", "stranger", ".."))] == ["tqdm/__init__.py"]
    assert modules["tqdm/__init__.py"] == str(packages / "tqdm" / "__init__.py")
    assert {"json/decoder.py", "argparse.py", "asyncio/queues.py"} <= modules.keys()
    assert not any(name.startswith(("test/", "idlelib/", "site-packages/", "tkinter/")) for name in modules)
    assert list(modules) == sorted(modules)
    assert versions == {"CPython": ".".join(map(str, sys.version_info[:3])), "tqdm": "9.9"}
    assert {"torch", "transformers"} <= set(absent)
    assert "tqdm" not in absent


def test_the_place_and_the_order_of_the_record_make_no_difference(tmp_path: Path) -> None:
    files = ["tqdm/__init__.py", "tqdm/a.py", "tqdm/b.py"]
    make_environment(tmp_path / "here", files)
    make_environment(tmp_path / "there" / "deeper", files[::-1])
    here, there = find(tmp_path / "here"), find(tmp_path / "there" / "deeper")
    assert list(here[0]) == list(there[0])
    assert here[1:] == there[1:]
