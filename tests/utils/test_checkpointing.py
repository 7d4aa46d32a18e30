from pathlib import Path

import pytest
import torch

from bart.errors import InputError
from utils.checkpointing import (
    AtomicCheckpointIO,
    checkpoint_name,
    checkpoints,
    is_whole,
    load_checkpoint,
    newest_checkpoint,
)


def save(folder: Path, epoch: int, step: int) -> Path:
    path = folder / checkpoint_name(epoch, step)
    AtomicCheckpointIO().save_checkpoint({"step": step, "weights": torch.arange(5000.0)}, path)
    return path


def test_order_is_by_number(tmp_path: Path) -> None:
    for epoch, step in [(10, 1000), (9, 999), (0, 8)]:
        save(tmp_path, epoch, step)
    (tmp_path / "model.ckpt").touch()
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["_epoch0_step8.ckpt", "_epoch9_step999.ckpt", "_epoch10_step1000.ckpt"]
    assert newest_checkpoint(tmp_path) == tmp_path / "_epoch10_step1000.ckpt"


def test_round_trip_and_removal(tmp_path: Path) -> None:
    path = save(tmp_path, 0, 7)
    stored = AtomicCheckpointIO().load_checkpoint(path)
    assert stored["step"] == 7 and torch.equal(stored["weights"], torch.arange(5000.0))
    assert list(tmp_path.iterdir()) == [path]
    AtomicCheckpointIO().remove_checkpoint(path)
    assert not path.exists() and newest_checkpoint(tmp_path) is None


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flip, lambda content: b""])
def test_damage_is_noticed(tmp_path: Path, damage: object) -> None:
    older, newer = save(tmp_path, 0, 1), save(tmp_path, 0, 2)
    newer.write_bytes(damage(newer.read_bytes()))
    assert is_whole(older) and not is_whole(newer)
    with pytest.warns(UserWarning, match=f"{newer} is damaged"):
        assert newest_checkpoint(tmp_path) == older
    older.write_bytes(damage(older.read_bytes()))
    with pytest.warns(UserWarning), pytest.raises(InputError, match="every checkpoint is damaged"):
        newest_checkpoint(tmp_path)


def test_damage_anywhere_in_the_directory_is_no_crash(tmp_path: Path) -> None:
    path = save(tmp_path, 0, 1)
    content = path.read_bytes()
    noticed = 0
    for at in range(len(content) - 1500, len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
        noticed += not is_whole(path)
    assert noticed > 700  # not where the damage is in a time stamp and the like


class Gadget:
    """Pickled, it would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": Gadget(tmp_path / "proof")}, tmp_path / "_epoch0_step1.ckpt")
    for load in (load_checkpoint, AtomicCheckpointIO().load_checkpoint):
        with pytest.raises(Exception, match=r"[Ww]eights"):
            load(tmp_path / "_epoch0_step1.ckpt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "_epoch0_step1.ckpt", weights_only=False)
    assert not (tmp_path / "proof").exists()
