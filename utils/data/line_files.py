"""Read text files of one example per line, so that line i is example i whatever the lines hold.

Only \\n ends a line: a program that also splits at \\r, form feeds, NEL or U+2028 would move all later examples.
"""

import codecs
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bart.errors import InputError

_BLOCK_BYTES = 2**20
# Every character at which Python's str.splitlines ends a line, and NUL, which iterate_lines refuses.
_LINE_BREAKING = dict.fromkeys(map(ord, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"), " ")


@dataclass(frozen=True)
class LineFile:
    """Describes a file that a first pass has read to its end without a fault."""

    path: Path
    lines: int
    digest: str  # SHA-256 of the content
    stamp: tuple[int, int]  # size in bytes, time of the last change in nanoseconds

    def check_unchanged(self) -> None:
        """Raise InputError if the file was written to since it was scanned."""
        if not self.path.exists() or _stamp(os.stat(self.path)) != self.stamp:
            raise InputError(f"{self.path}: was changed while it was read; start again when it is complete")


def scan(path: Path) -> LineFile:
    """Count the lines of a file, hash its content and check its encoding. Raises InputError as iterate_lines does."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    newlines, size, last, valid = 0, 0, b"", True
    with _open(path) as file:
        stamp = _stamp(os.fstat(file.fileno()))
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            newlines += block.count(b"\n")
            size += len(block)
            last = block[-1:]
            valid = valid and b"\0" not in block and _is_valid_utf8(decoder, block)
    if not (valid and _is_valid_utf8(decoder, b"", final=True)):
        for _ in iterate_lines(path):  # raises InputError, which names the place
            pass
    lines = 0 if _holds_nothing(path, size) else newlines + (last != b"\n")
    return LineFile(path, lines, digest.hexdigest(), stamp)


def iterate_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without their \\n, without \\r before it and without a byte order mark.

    Raises InputError, which names the file, the line and the byte in it (both from 1), if the file is missing, is not
    UTF-8 or has a NUL.
    """
    with _open(path) as file:
        yield from iterate_stream(file, path)


def iterate_stream(file: Iterable[bytes], path: str | Path) -> Iterator[str]:
    """Yield the lines of an open file as ``iterate_lines`` does, each as soon as it is read; messages name ``path``."""
    for line in decode_lines(file, path):
        yield line.removesuffix("\n").removesuffix("\r")


def decode_lines(file: Iterable[bytes], path: str | Path) -> Iterator[str]:
    """Yield the lines of an open file with what ends them, but without a byte order mark at the start.

    Raises InputError, which names the ``path``, the line and the byte in it, if a line is not UTF-8 or has a NUL.
    """
    for number, line in enumerate(file, start=1):
        mark = codecs.BOM_UTF8 if number == 1 and line.startswith(codecs.BOM_UTF8) else b""
        if text := _decode(line[len(mark) :], path, number, len(mark)):
            yield text


def read_lines(path: Path) -> list[str]:
    """Read all lines of a file. Raises InputError as iterate_lines does."""
    return list(iterate_lines(path))


def one_line(text: str) -> str:
    """Replace by a space whatever any program takes as the end of a line, and strip white space from both ends."""
    return text.translate(_LINE_BREAKING).strip()


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}; a data folder holds {{train,val,test}}.{{source,target}}, or a train.csv ..."
        ) from error


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _is_valid_utf8(decoder: codecs.IncrementalDecoder, block: bytes, final: bool = False) -> bool:
    """Tell whether a block continues valid UTF-8; ``final`` if the text must end with it."""
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _holds_nothing(path: Path, size: int) -> bool:
    """Tell whether a file is empty but for a byte order mark."""
    return size == 0 or (size == len(codecs.BOM_UTF8) and path.read_bytes() == codecs.BOM_UTF8)


def _decode(line: bytes, path: str | Path, number: int, bytes_before: int) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        place = bytes_before + error.start + 1
        raise InputError(
            f"{path}: line {number} is not UTF-8 at byte {place} (0x{line[error.start]:02x}); convert the file to UTF-8"
        ) from None
    if (place := line.find(b"\0")) >= 0:
        raise InputError(f"{path}: line {number}, byte {bytes_before + place + 1} is NUL; is this a text file?")
    return text
