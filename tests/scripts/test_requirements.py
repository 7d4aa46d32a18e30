"""The locks: exact, hashed, within the chosen ranges, complete, and free of what must not be in them."""

import re
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "requirements"
LOCK = ("runtime.txt", "torch.txt", "dev.txt")
CUDA = ("nvidia-", "cuda-", "triton")  # torch asks for them where it needs them


def lines(name: str) -> list[str]:
    """One for each package."""
    text = (FOLDER / name).read_text(encoding="utf-8").replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read(*names: str) -> dict[str, Requirement]:
    requirements = [Requirement(line.partition("--hash")[0]) for name in names for line in lines(name)]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def version_of(locked: Requirement) -> str:
    (pin,) = locked.specifier
    assert pin.operator == "==", locked
    return pin.version


@pytest.mark.parametrize("name", ["runtime", "dev", "numpy1"])
def test_every_choice_is_locked_within_its_range(name: str) -> None:
    locked = read(f"{name}.txt", *(["torch.txt"] if name == "runtime" else []))
    for package, chosen in read(f"{name}.in").items():
        assert chosen.specifier.contains(version_of(locked[package])), package


def test_the_locks_are_exact_and_do_not_overlap() -> None:
    names = [canonicalize_name(requirement.name) for file in LOCK for requirement in read(file).values()]
    assert len(names) == len(set(names)) == sum(len(lines(file)) for file in LOCK)
    for package, requirement in read(*LOCK).items():
        assert "+" not in version_of(requirement), package  # +cpu exists on no public registry


def test_all_but_torch_have_hashes() -> None:
    for file in ("runtime.txt", "dev.txt", "numpy1.txt"):
        for line in lines(file):
            assert re.fullmatch(r"[^#]+?( +--hash=sha256:[0-9a-f]{64})+", line), f"{file}: {line[:60]}"
    assert list(read("torch.txt")) == ["torch"] and "--hash" not in lines("torch.txt")[0]


@cache
def requires(package: str) -> list[Requirement]:
    return list(map(Requirement, metadata.requires(package) or ()))


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_locks_are_complete_on_every_python(python: str) -> None:
    """They are installed without dependencies, so all that a package asks for there must be locked."""
    locked = read(*LOCK)
    system = {"python_version": python, "python_full_version": f"{python}.0"}
    left = [(package, "") for package in locked.keys() - {"triton"}]  # which may not be installed, and asks for nothing
    seen = set(left)
    while left:
        package, extra = left.pop()
        for asked in requires(package):
            name = canonicalize_name(asked.name)
            if asked.marker and not asked.marker.evaluate({**system, "extra": extra}):
                continue
            if name.startswith(CUDA):
                continue
            assert name in locked, f"{package} asks for {asked}"
            assert asked.specifier.contains(version_of(locked[name])), f"{package} asks for {asked}"
            new = {(name, extra) for extra in asked.extras} - seen
            seen |= new
            left.extend(new)


def test_what_must_not_be_locked() -> None:
    locked = read(*LOCK)
    assert "apex" not in locked  # PyPI's is not NVIDIA's
    assert [package for package in locked if package.startswith(CUDA)] == ["triton"]  # the tests need it everywhere
    assert "triton" in read("dev.txt")
