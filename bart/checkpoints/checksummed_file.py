"""Checkpoint files that end with a checksum of their content.

A file of ``torch.save`` is a zip archive, and the checksum is its comment, so torch and other programs read the file as
usual. The archive's own checksums cover its members but not its directory, and torch.load ignores them.
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
    """A file for ``torch.save`` to write to; afterwards ``write_checksum`` appends the checksum."""

    def __init__(self, file: IO[bytes]) -> None:
        """Write to ``file``, which must be empty and seekable."""
        self._file = file
        self._digest = hashlib.sha256()
        self.error: OSError | None = None  # of a failed write; torch raises another error, which does not name it

    def write(self, content: bytes) -> int:
        """Write ``content``, and return its length. Raises OSError, and keeps it in ``error``."""
        try:
            written = self._file.write(content)
        except OSError as error:
            self.error = error
            raise
        self._digest.update(content)
        return written

    def flush(self) -> None:
        """Flush the file."""
        self._file.flush()

    def write_checksum(self) -> None:
        """Append the checksum. Nothing may be written afterwards. Raises OSError."""
        self._file.seek(-len(_NO_COMMENT), os.SEEK_END)
        self._file.write(_COMMENT_LENGTH.pack(_FOOTER_BYTES) + _MARK + self._digest.hexdigest().encode())


def matches_checksum(path: Path) -> bool | None:
    """Return whether a file matches its checksum; None if it was written without one. Raises OSError."""
    content_bytes = max(0, path.stat().st_size - _FOOTER_BYTES - len(_NO_COMMENT))
    with open(path, "rb") as file:
        file.seek(content_bytes)
        length, footer = file.read(len(_NO_COMMENT)), file.read()
        if not footer.startswith(_MARK):
            return None if footer.endswith(_NO_COMMENT) else False  # None: as torch ends a file; False: it is cut
        digest = hashlib.sha256()
        file.seek(0)
        while content_bytes > 0 and (block := file.read(min(_BLOCK_BYTES, content_bytes))):
            digest.update(block)
            content_bytes -= len(block)
    digest.update(_NO_COMMENT)
    return length == _COMMENT_LENGTH.pack(_FOOTER_BYTES) and footer[len(_MARK) :] == digest.hexdigest().encode()
