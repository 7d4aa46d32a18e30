"""The tokens of a split, computed once and kept in memory-mapped files.

They lie in ``<data folder>/.prepared/<split>-<key>``, or in the user's cache where the data folder takes no files. The
key stands for the content of the texts, the tokenizer and the lengths, so what is found under it is right. A folder
under its final name is whole: it is written under another one, synced to disk and renamed.
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import tokenizers
from transformers import PreTrainedTokenizerBase

from bart.errors import InputError
from utils.files import sync_folder
from utils.pairs import SplitFiles
from utils.prepared_files import FORMAT, PreparedPairs, TokenLimits, open_prepared, read_header, write_prepared

FOLDER = ".prepared"
_PART = ".part-"


def prepare(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> PreparedPairs:
    """Find the tokens of a split, or compute them first, one process at a time.

    Raises InputError where no pair has both texts, where the files change meanwhile or where nothing can be written.
    """
    name = f"{files.split}-{_key(files, tokenizer, limits)}"
    places = _places(files.source.path.parent)
    for place in places:
        if (found := open_prepared(place / name)) is not None:
            return found
    place = _first_writable(places)
    with _alone_in(place) as alone:
        if (found := open_prepared(place / name)) is not None:  # by the process that was waited for
            return found
        if alone:
            _delete_useless(place, files)
        try:
            _write(place, name, files, tokenizer, limits)
        except OSError as error:
            raise InputError(f"{place}: prepared tokens cannot be written: {error.strerror}") from error
        found = open_prepared(place / name)
    if found is None:
        raise InputError(f"{place / name}: was damaged while it was written; is the disk sound?")
    return found


def _key(files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> str:
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    for state in ("truncation", "padding"):  # of the last call
        del backend[state]
    parts = [
        FORMAT, files.source.digest, files.target.digest, backend, tokenizer.truncation_side, tokenizers.__version__,
        asdict(limits),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]


def _places(data_dir: Path) -> list[Path]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:20]
    return [data_dir / FOLDER, cache / "bart" / "prepared" / folder]


def _first_writable(places: list[Path]) -> Path:
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK | os.X_OK):
            return place
    raise InputError(f"{places[0]} and {places[1]} cannot be written; set XDG_CACHE_HOME to a folder for the tokens")


@contextmanager
def _alone_in(place: Path) -> Iterator[bool]:
    """Wait until no other process prepares there. False where the file system has no locks; a killed process has none.

    Without locks two processes do the same work, and the first to finish is the one that counts.
    """
    descriptor = os.open(place, os.O_RDONLY)
    try:
        yield _lock(descriptor, place)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, place: Path) -> bool:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{place}: waiting for another process that prepares tokens", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def _delete_useless(place: Path, files: SplitFiles) -> None:
    """Delete what killed processes left, and tokens of texts that these files no longer hold."""
    digests = [files.source.digest, files.target.digest]
    for folder in [*place.glob(f"{_PART}*"), *place.glob(f"{files.split}-*")]:
        header = read_header(folder)
        if folder.name.startswith(_PART) or header is None or header["digests"] != digests:
            shutil.rmtree(folder, ignore_errors=True)


def _write(place: Path, name: str, files: SplitFiles, tokenizer: PreTrainedTokenizerBase, limits: TokenLimits) -> None:
    part = place / f"{_PART}{uuid.uuid4().hex}"  # which no other process takes, on this machine or another
    part.mkdir()
    try:
        write_prepared(part, files, tokenizer, limits)
        sync_folder(part)
        if open_prepared(place / name) is None:
            shutil.rmtree(place / name, ignore_errors=True)  # damaged
        try:
            part.rename(place / name)
        except OSError:
            if not (place / name).exists():  # another process was faster
                raise
        sync_folder(place)
    finally:
        shutil.rmtree(part, ignore_errors=True)
