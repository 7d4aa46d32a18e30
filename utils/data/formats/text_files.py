"""Open the text files of tables: their lines or their whole text, decompressed, as a stream."""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bart.errors import InputError

from ..line_files import decode_lines

_BLOCK_BYTES = 2**20


def kind(path: Path) -> str:
    """Return the suffix of the format, without .gz."""
    return Path(path.name.removesuffix(".gz")).suffix


@contextmanager
def open_lines(path: Path) -> Iterator[Iterator[str]]:
    """Yield the lines of a file, decompressed, with their line ends. Raises InputError as decode_lines does."""
    with _open(path) as file:
        yield decode_lines(file, path)


def text_blocks(path: Path) -> Iterator[str]:
    """Yield the text of a file, decompressed, in blocks that may end anywhere. Raises InputError as decode_lines does.

    Unlike lines, blocks take little memory whatever the file holds: some programs write all rows on one line.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    with _open(path) as file:
        while block := file.read(_BLOCK_BYTES):
            if (text := _decoded(decoder, block, path)) != "":
                yield text
        _decoded(decoder, b"", path, final=True)


def _decoded(decoder: codecs.IncrementalDecoder, block: bytes, path: Path, final: bool = False) -> str:
    try:
        if b"\0" not in block:
            return decoder.decode(block, final)
    except UnicodeDecodeError:
        pass
    with open_lines(path) as lines:  # raises InputError, which names the place
        for _ in lines:
            pass
    raise InputError(f"{path}: was changed while it was read; start again when it is complete")


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
