import io
import tarfile
from pathlib import Path

import pytest

from bart.errors import InputError
from tests.utils.corpora.get_data_command import tar_of
from utils.corpora.archives import extract


def archive_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, target, 3 if kind == tarfile.REGTYPE else 0, 0o6777
    return info


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_folders_and_files_come_out(folder: Path, tmp_path: Path, mode: str) -> None:
    (tmp_path / "good").write_bytes(tar_of({"./a/b.story": b"text", "c": b""}, mode))
    extract(tmp_path / "good", folder)
    assert (folder / "a" / "b.story").read_bytes() == b"text" and (folder / "c").read_bytes() == b""


def test_modes_of_an_archive_do_not_count(folder: Path, tmp_path: Path) -> None:
    extract(archive_of(tmp_path / "odd.tgz", member("program")), folder)
    assert (folder / "program").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (member("../escaped"), "outside the folder"),
        (member("a/../../escaped"), "outside the folder"),
        (member("/tmp/escaped"), "outside the folder"),
        (member("../escaped", tarfile.DIRTYPE), "outside the folder"),
        (member("link", tarfile.SYMTYPE, "/etc/passwd"), "a symbolic link"),
        (member("link", tarfile.SYMTYPE, "inside"), "a symbolic link"),
        (member("link", tarfile.LNKTYPE, "inside"), "a hard link"),
        (member("device", tarfile.CHRTYPE), "a device or pipe"),
        (member("device", tarfile.BLKTYPE), "a device or pipe"),
        (member("pipe", tarfile.FIFOTYPE), "a device or pipe"),
        (member("inside"), "comes twice"),
        (member("inside/below"), "comes twice"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.name}:{value.type.decode()}",
)
def test_a_hostile_member_is_refused(folder: Path, tmp_path: Path, hostile: tarfile.TarInfo, why: str) -> None:
    archive = archive_of(tmp_path / "hostile.tgz", member("inside"), hostile)
    with pytest.raises(InputError, match=why) as caught:
        extract(archive, folder)
    assert hostile.name in str(caught.value) and "hostile.tgz" in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["hostile.tgz", "inside", "into"]


@pytest.mark.parametrize("kept", [0, 1, 40, -1, -8, -200])
def test_an_archive_that_is_cut_short_is_refused(folder: Path, tmp_path: Path, kept: int) -> None:
    content = tar_of({f"{number}.story": bytes(range(number, 200)) for number in range(9)})
    (tmp_path / "cut.tgz").write_bytes(content[:kept])
    with pytest.raises(InputError, match="broken or cut short"):
        extract(tmp_path / "cut.tgz", folder)


def test_an_archive_with_a_flipped_byte_is_refused(folder: Path, tmp_path: Path) -> None:
    content = bytearray(tar_of({"a.story": bytes(range(250)) * 9}))
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.tgz").write_bytes(content)
    with pytest.raises(InputError, match="broken or cut short"):
        extract(tmp_path / "flipped.tgz", folder)
