"""The locks: exact, within the chosen ranges, and free of what must not be in them."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "requirements"


def read(name: str) -> dict[str, Requirement]:
    lines = [line for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in map(Requirement, lines)}


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_every_choice_is_locked_within_its_range(name: str) -> None:
    locked = read(f"{name}.txt")
    for package, chosen in read(f"{name}.in").items():
        (pin,) = locked[package].specifier
        assert pin.operator == "==" and chosen.specifier.contains(pin.version), package


def test_the_locks_are_exact_and_do_not_overlap() -> None:
    runtime, dev = read("runtime.txt"), read("dev.txt")
    assert not runtime.keys() & dev.keys()
    for package, requirement in (runtime | dev).items():
        (pin,) = requirement.specifier
        assert (pin.operator, "+" in pin.version) == ("==", False), package  # +cpu exists on no public registry


def test_what_must_not_be_locked() -> None:
    for package in read("runtime.txt").keys() | read("dev.txt").keys():
        assert package != "apex"  # PyPI's is not NVIDIA's
        assert not package.startswith(("nvidia-", "cuda-"))  # torch asks for them where it needs them
    assert "triton" not in read("runtime.txt")  # likewise; the tests need it everywhere
