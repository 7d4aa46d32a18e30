"""Checkpoint files that end with a checksum of all that is before it.

It is the comment of the zip archive that a file of ``torch.save`` is, so that torch and any other program read the file
as if there were none. The archive's own checksums cover its members one by one, not its directory, and torch.load
does not look at them.
"""

import hashlib
import os
import struct
from pathlib import Path
from typing import IO

_MARK = b"sha256:"
_FOOTER_BYTES = len(_MARK) + 64  # the mark and a SHA-256 in hexadecimal digits
_COMMENT_LENGTH = struct.Struct("<H")  # of a zip archive: its last two bytes, before the comment
_NO_COMMENT = _COMMENT_LENGTH.pack(0)
_BLOCK_BYTES = 2**22


class ChecksummingWriter:
    """A file for ``torch.save`` to write to; ``write_checksum`` then adds the checksum of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        """``file`` is empty and can be sought in."""
        self._file = file
        self._digest = hashlib.sha256()
        self.error: OSError | None = None  # of a write that failed; torch raises another one, which does not name it

    def write(self, content: bytes) -> int:
        try:
            written = self._file.write(content)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(content)
        return written

    def flush(self) -> None:
        self._file.flush()

    def write_checksum(self) -> None:
        """Append the checksum; nothing may be written afterwards. Raises OSError."""
        self._file.seek(-len(_NO_COMMENT), os.SEEK_END)
        self._file.write(_COMMENT_LENGTH.pack(_FOOTER_BYTES) + _MARK + self._digest.hexdigest().encode())


def matches_checksum(path: Path) -> bool | None:
    """Whether every byte of a file is what its checksum says; None if it never had one. Raises OSError."""
    content_bytes = max(0, path.stat().st_size - _FOOTER_BYTES - len(_NO_COMMENT))
    with open(path, "rb") as file:
        file.seek(content_bytes)
        length, footer = file.read(len(_NO_COMMENT)), file.read()
        if not footer.startswith(_MARK):
            return None if footer.endswith(_NO_COMMENT) else False  # as torch ends a file, or cut
        digest = hashlib.sha256()
        file.seek(0)
        while content_bytes > 0 and (block := file.read(min(_BLOCK_BYTES, content_bytes))):
            digest.update(block)
            content_bytes -= len(block)
    digest.update(_NO_COMMENT)
    return length == _COMMENT_LENGTH.pack(_FOOTER_BYTES) and footer[len(_MARK) :] == digest.hexdigest().encode()
