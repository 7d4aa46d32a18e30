import pytest

from bart.errors import InputError
from utils.runtime.collectives import gather_from_all, own_of_gathered


def test_alone() -> None:
    assert gather_from_all("value") == ["value"]


def test_a_resumed_run_needs_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert own_of_gathered(["first", "second"]) == "second"
    with pytest.raises(InputError, match="--resume: the interrupted run had 3 processes, this one has 2; start 3 "):
        own_of_gathered(["first", "second", "third"])
