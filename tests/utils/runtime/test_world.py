"""The processes that work together, as the variables of torchrun describe them."""

import pytest

from bart.errors import InputError
from utils.runtime.world import local_process_count, resolve_world

ONE_OF_SIX = {"WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3", "RANK": "4", "LOCAL_RANK": "1"}  # on the second machine


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Set the variables as torchrun does, for three processes on each of two machines."""
    for name, value in ONE_OF_SIX.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_OF_SIX:
        monkeypatch.delenv(name, raising=False)
    world = resolve_world(gpus=0, num_nodes=1)
    assert (world.processes, world.machines, world.rank) == (1, 1, 0)
    with pytest.raises(InputError, match=r"--num_nodes 2: .* torchrun --nnodes 2"):
        resolve_world(gpus=0, num_nodes=2)


def test_two_machines(started: pytest.MonkeyPatch) -> None:
    for num_nodes in (None, 2):
        world = resolve_world(gpus=0, num_nodes=num_nodes)
        assert (world.processes, world.machines, world.rank) == (6, 2, 4)
        assert world.processes_per_machine == 3
    with pytest.raises(InputError, match="--num_nodes 3: processes were started on 2"):
        resolve_world(gpus=0, num_nodes=3)


def test_machines_that_differ_are_refused(started: pytest.MonkeyPatch) -> None:
    started.setenv("WORLD_SIZE", "5")
    with pytest.raises(InputError, match="5 processes were started, 3 on this machine"):
        resolve_world(gpus=0)


def test_lightning_starts_processes_on_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning sets WORLD_SIZE, but not the number of processes on this machine."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert local_process_count() == 4
    assert resolve_world(gpus=0).machines == 1
