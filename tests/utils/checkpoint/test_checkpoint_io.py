import os
import zipfile
from pathlib import Path

import pytest
import torch

from bart.checkpoints.checksummed_file import ChecksummingWriter
from bart.errors import InputError
from bart.modeling.modeling_bart import BartForConditionalGeneration
from tests.tiny_setup import tiny_config
from utils.checkpoint.checkpoint_io import (
    AtomicCheckpointIO,
    check_written,
    checkpoint_name,
    checkpoints,
    is_intact,
    newest_checkpoint,
)
from utils.io.atomic_files import atomic_write
from utils.training.callbacks.checkpoint_saver import CheckpointSaver


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
    assert is_intact(older) and not is_intact(newer)
    with pytest.warns(UserWarning, match=f"{newer} is damaged"):
        assert newest_checkpoint(tmp_path) == older
    older.write_bytes(damage(older.read_bytes()))
    with pytest.warns(UserWarning), pytest.raises(InputError, match="every checkpoint is damaged"):
        newest_checkpoint(tmp_path)


def test_the_next_best_takes_the_place_of_a_damaged_best(tmp_path: Path) -> None:
    saver = CheckpointSaver(tmp_path, every_n_steps=1, top_k=2, metric="loss", steps_per_epoch=1)
    best, next_best, newest = (save(tmp_path, 0, step) for step in (1, 2, 3))
    saver.load_state_dict({"best": [(1.0, best.name), (2.0, next_best.name)]})
    assert saver.best_checkpoint() == best
    best.write_bytes(flip(best.read_bytes()))
    with pytest.warns(UserWarning, match=f"{best}, among the best, is damaged or gone"):
        assert saver.best_checkpoint() == next_best
    next_best.unlink()
    with pytest.warns(UserWarning, match=f"{next_best}, among the best, is damaged or gone"):
        assert saver.best_checkpoint() == newest
    newest.unlink()
    with pytest.warns(UserWarning), pytest.raises(InputError, match="every checkpoint is damaged"):
        saver.best_checkpoint()


@pytest.mark.parametrize("part", ["first", "middle", "last"])
def test_every_flipped_byte_is_noticed(tmp_path: Path, part: str) -> None:
    """This includes bytes that no checksum of the archive covers: its directory, time stamps, the checksum itself."""
    path = save(tmp_path, 0, 1)
    content = path.read_bytes()
    start = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1500}[part]
    for at in range(start, start + 1500):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert not is_intact(path), at
    path.write_bytes(content)
    assert is_intact(path)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path, 0, 1)
    content = path.read_bytes()
    for kept in [*range(300), *range(len(content) - 300, len(content))]:
        path.write_bytes(content[:kept])
        assert not is_intact(path), kept


def test_one_without_a_checksum_of_its_own_is_read(tmp_path: Path) -> None:
    """An earlier version wrote such files; the archive's own checksums are compared then."""
    path = tmp_path / checkpoint_name(0, 1)
    torch.save({"step": 1, "weights": torch.arange(5000.0)}, path)
    assert is_intact(path) and newest_checkpoint(tmp_path) == path
    path.write_bytes(flip(path.read_bytes()))
    assert not is_intact(path)


def test_other_programs_read_it(tmp_path: Path) -> None:
    """Other programs ignore the checksum, which is a comment of the archive."""
    path = save(tmp_path, 0, 1)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"sha256:")
    for mmap in (False, True):
        assert torch.equal(torch.load(path, mmap=mmap, weights_only=True)["weights"], torch.arange(5000.0))


def test_what_the_disk_gives_back_is_compared(tmp_path: Path) -> None:
    """A disk may store something else: here a byte is changed after it was written."""
    before = save(tmp_path, 0, 1)
    content = before.read_bytes()

    with pytest.raises(InputError, match="cannot be written: what was read back"), atomic_write(before, "wb") as file:
        writer = ChecksummingWriter(file)
        torch.save({"weights": torch.arange(5000.0)}, writer)
        writer.write_checksum()
        file.flush()
        os.pwrite(file.fileno(), b"x", 10_000)
        check_written(file)
    assert before.read_bytes() == content and list(tmp_path.iterdir()) == [before]


def test_a_flipped_bit_is_noticed_where_the_weights_alone_are_read(tmp_path: Path) -> None:
    """An evaluation, for example, would compute with another number."""
    model = BartForConditionalGeneration(tiny_config())
    weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    path = tmp_path / checkpoint_name(0, 1)
    content = {"state_dict": weights, "hyper_parameters": {"config": tiny_config().to_dict()}}
    AtomicCheckpointIO().save_checkpoint(content, path)
    BartForConditionalGeneration.from_pretrained(path)
    path.write_bytes(flip(path.read_bytes()))
    with pytest.raises(InputError, match=r"_epoch0_step1\.ckpt: is damaged"):
        BartForConditionalGeneration.from_pretrained(path)
