"""A folder that takes another one's place, or does not."""

import errno
from pathlib import Path

import pytest

from bart.atomic_directory import atomic_directory
from bart.errors import InputError


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails between the two renames."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("old")
    rename = Path.rename

    def fail_for_the_new_one(path: Path, target: Path) -> Path:
        if ".part-" in path.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new_one)
    message = r"model: cannot be written: Input/output error; .* as it was"
    with pytest.raises(InputError, match=message), atomic_directory(folder) as partial:
        (partial / "weights").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder / "weights").read_text() == "old"
