"""Unpacks archives that others made: regular files only, and none outside the folder."""

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from bart.errors import InputError

from ..runtime.progress import ProgressBar

_KINDS = ((tarfile.TarInfo.issym, "a symbolic link"), (tarfile.TarInfo.islnk, "a hard link"))


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, into ``folder``, which exists.

    Only the content of regular files is written: no owners, modes or times.

    Raises:
        InputError: The archive is broken, or a member lies outside the folder, is a link, device or pipe, or comes
            twice. The message names the archive and the member.
    """
    with _readable(archive) as tar:
        for member in ProgressBar(tar, desc=f"Unpacking {archive.name}", unit=" files", mininterval=1):
            _check_member(archive, member)
            path = folder / member.name
            try:
                if member.isdir():
                    path.mkdir(parents=True, exist_ok=True)
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None  # a regular file has content
                with content, path.open("xb") as file:
                    shutil.copyfileobj(content, file)
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise InputError(f"{archive}: {member.name} comes twice; this archive is not trusted") from error


@contextmanager
def _readable(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open the archive, and read on to its end at the end: its checksum is there, and shows if it was cut short."""
    try:
        with tarfile.open(archive) as tar:
            yield tar
            while tar.fileobj is not None and tar.fileobj.read(tarfile.RECORDSIZE):
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{archive}: broken or cut short ({error}); delete it and get it again") from error


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    kind = next((name for is_kind, name in _KINDS if is_kind(member)), None)
    if kind is None and not (member.isreg() or member.isdir()):
        kind = "a device or pipe"
    if kind is None and (path.is_absolute() or ".." in path.parts or "\0" in member.name):
        kind = "outside the folder"
    if kind is not None:
        raise InputError(f"{archive}: {member.name} is {kind}; this archive is not trusted, nothing of it is kept")
