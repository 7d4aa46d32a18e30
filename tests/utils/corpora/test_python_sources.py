"""Has pip download real wheels, from a folder that stands in for the registry."""

from pathlib import Path

import pytest

from bart.errors import InputError
from utils.corpora.python_sources import DOCSTRINGS, PROSE, find_python_sources
from utils.corpora.wheels import read_lock

from .small_wheels import write_wheel

FILES = {
    "alpha/__init__.py": '"""What alpha does."""',
    "alpha/data.txt": "",
    "alpha/b.py": "",
    "alpha/a.py": "",
    "alpha/tests/helper.py": "",
    "alpha/test_a.py": "",
    "alpha/conftest.py": "",
    "alpha-1.0.data/scripts/run": "",
}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return folder


def write_lock(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in ("# Locked.", *lines)))
    return path


def test_modules_come_from_the_locked_wheels(registry: Path, tmp_path: Path) -> None:
    """Tests and other files are left out, the order of a wheel's files makes no difference, and nothing is unpacked."""
    first = write_lock(tmp_path / "first.txt", write_wheel(registry, "alpha", "1.0", FILES))
    second = write_lock(tmp_path / "second.txt", write_wheel(registry, "zeta", "2.1", {"zeta.py": "x = 1"}))
    write_wheel(registry, "alpha", "1.1", {"alpha/newer.py": ""})
    wheels = tmp_path / "wheels"
    sources = find_python_sources([second, first], wheels)
    assert list(sources.modules) == ["alpha/__init__.py", "alpha/a.py", "alpha/b.py", "zeta.py"]
    assert sources.modules["alpha/__init__.py"].read_bytes() == b'"""What alpha does."""'
    assert sources.versions == {"zeta": "2.1", "alpha": "1.0"}
    assert sources.descriptions["zeta"] == "What zeta is good for in general.\n"
    assert sorted(path.name for path in wheels.iterdir()) == ["alpha-1.0-py3-none-any.whl", "zeta-2.1-py3-none-any.whl"]


def test_wheels_that_are_there_need_no_registry(registry: Path, tmp_path: Path) -> None:
    """A wheel that was cut short is not taken for the locked one; it is downloaded again."""
    lock = write_lock(tmp_path / "lock.txt", write_wheel(registry, "alpha", "1.0", FILES))
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "alpha-1.0-py3-none-any.whl"
    wheel.write_bytes((registry / wheel.name).read_bytes()[:100])
    assert len(find_python_sources([lock], wheels).modules) == 3
    (registry / wheel.name).unlink()
    assert len(find_python_sources([lock], wheels).modules) == 3


def test_another_wheel_than_the_locked_one_is_refused(
    registry: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lock = write_lock(tmp_path / "lock.txt", write_wheel(registry, "alpha", "1.0", FILES))
    write_wheel(registry, "alpha", "1.0", {**FILES, "alpha/c.py": "import os"})
    with pytest.raises(InputError, match="pip could not download the wheels"):
        find_python_sources([lock], tmp_path / "wheels")
    assert "DO NOT MATCH" in capfd.readouterr().err
    assert not list(tmp_path.glob("wheels/*"))


def test_a_lock_that_is_none_is_refused(tmp_path: Path) -> None:
    lock = write_lock(tmp_path / "lock.txt", "alpha==1.0")
    with pytest.raises(InputError, match=r"lock\.txt, line 2: not 'name==version --hash=sha256:\.\.\.'"):
        read_lock(lock)
    with pytest.raises(InputError, match=r"absent\.txt: no such file"):
        read_lock(tmp_path / "absent.txt")


def test_the_locks_have_the_packages_of_their_lists() -> None:
    """Each package once, in both lists together."""
    for lock in (DOCSTRINGS, PROSE):
        lines = lock.with_suffix(".in").read_text().splitlines()
        packages = [line.replace("-", "_") for line in lines if not line.startswith("#")]
        assert [wheel.name.lower().replace("-", "_") for wheel in read_lock(lock)] == packages
    names = [wheel.name for lock in (DOCSTRINGS, PROSE) for wheel in read_lock(lock)]
    assert len(set(names)) == len(names)
