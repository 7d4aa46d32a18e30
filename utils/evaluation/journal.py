"""A journal of an evaluation: every summary is stored as soon as it is there, and a killed evaluation goes on from it.

Each process appends to a file of its own beside the results, <split>_journal.<rank>.jsonl. Its first line is a header,
every other line a row of the sources, or a piece of one:

    {"format": 2, "key": {"weights": "5fe1...", "texts": "09ab...", "num_beams": 4, ...}, "crc32": 2839164510}
    {"row": 7, "texts": ["..."], "repeats_special_tokens": false, "rank": 0, "crc32": 1177392005}
    {"row": 3, "texts": ["..."], "repeats_special_tokens": false, "rank": 1, "batch_seconds": 0.8, "crc32": 9182374}

The last row of a batch has its seconds. The rank is that of the process that has generated the row: behind the search
the first process takes over the rows of all. The key is all that the summaries depend on: with another one they are of
no use. A line that is torn or damaged is dropped with all lines behind it. It does not matter what they held: a power
cut damages what was not yet synced, which is the newest, and what is dropped is generated again.
"""

import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bart.errors import InputError

from ..io.atomic_files import failure_of_writing, sync_folder
from ..io.run_files import journal_file, journal_pattern
from ..runtime.evaluation_group import EvaluationGroup

Key = dict[str, Any]  # JSON values by name

_FORMAT = 2
_SECONDS_BETWEEN_SYNCS = 3.0
_DIGEST_LENGTH = 64
_ADVICE = "make room, and go on with --resume"  # the journal keeps what it has


@dataclass(frozen=True)
class Row:
    """The summaries of a row of the sources."""

    texts: list[str]  # num_return_sequences texts, best first
    repeats: bool  # whether the best sequence repeats special tokens
    batch_seconds: float | None  # the time of its batch, if this is the last row of it
    rank: int  # of the process that has generated it


class Journal:
    """The rows that are known, and a file to which a process appends more."""

    def __init__(
        self,
        path: Path,
        key: Key,
        sound_bytes: int,
        stored: dict[int, Row],
        known: dict[int, Row],
        known_to_all: set[int],
    ) -> None:
        """Open the file, and write the header unless ``sound_bytes`` of the file are kept.

        Args:
            path: the file.
            key: all that the summaries depend on.
            sound_bytes: how much of the file is kept.
            stored: the rows in these bytes.
            known: rows from earlier journals for which this process answers: each row has one such process.
            known_to_all: the numbers of the rows that all processes together know.
        """
        self.known = known
        self.known_to_all = known_to_all
        self._path = path
        self._stored = stored
        self._last_sync = time.monotonic()
        with failure_of_writing(path, _ADVICE):
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 -- until it is closed
            self._file.truncate(sound_bytes)
        if sound_bytes == 0:
            try:
                self._write([{"format": _FORMAT, "key": key}])
                self.sync()
                with failure_of_writing(path, _ADVICE):
                    sync_folder(path.parent)
            except InputError:
                path.unlink()  # no header, so nothing to go on from
                raise

    def append(self, rows: Mapping[int, Row]) -> None:
        """Append rows. A kill of this process does them no harm from now on.

        A power cut may: rows that come within three seconds of a sync are synced with the first rows that come later,
        or at the end of the search. So it costs what these three seconds have generated, beside the current batch.
        Raises InputError if the rows cannot be written.
        """
        self._write(_record(number, row) for number, row in rows.items())
        self._stored.update(rows)
        if time.monotonic() - self._last_sync > _SECONDS_BETWEEN_SYNCS:
            self.sync()

    def append_missing(self, rows: Mapping[int, Row]) -> None:
        """Append what the file does not hold, and sync it. From then on no other journal is needed for these rows."""
        self.append({number: row for number, row in rows.items() if self._stored.get(number) != row})
        self.sync()

    def sync(self) -> None:
        """Make the journal survive a power cut."""
        with failure_of_writing(self._path, _ADVICE):
            os.fsync(self._file.fileno())
        self._last_sync = time.monotonic()

    def close(self) -> None:
        """Sync and close the file."""
        self.sync()
        self._file.close()

    def delete(self) -> None:
        """Delete the file, when another process has all that it holds."""
        self._path.unlink(missing_ok=True)

    def _write(self, records: Iterable[dict[str, Any]]) -> None:
        content = b"".join(map(_line, records))
        with failure_of_writing(self._path, _ADVICE):
            while content:  # a disk that becomes full takes the beginning
                content = content[self._file.write(content) :]


class _OtherEvaluation(Exception):
    """Raised by a journal of another evaluation; says which file it is, and what differs."""


def open_journal(
    folder: Path, split: str, key: Key, resume: bool, group: EvaluationGroup, discard_other: bool = False
) -> Journal:
    """Open this process's journal: a new one, or that of an interrupted evaluation.

    All processes call this together. Each one reads the journals that its machine shows; then they exchange what they
    know. So another number of processes may go on, and machines need not share the folder.

    Args:
        folder: the results folder.
        split: the split.
        key: all that the summaries depend on.
        resume: go on from the journals that there are; otherwise they are deleted.
        group: the processes.
        discard_other: delete journals with another key, with a warning, instead of refusing them.

    Raises:
        InputError: a journal has another key, or cannot be read; in all processes.
    """
    if not resume:
        delete_journals(folder, split)
    own = folder / journal_file(split, group.rank)
    known: dict[int, Row] = {}
    stored: dict[int, Row] = {}
    others: dict[Path, str] = {}
    own_bytes, problem = 0, None
    try:
        for path in sorted(folder.glob(journal_pattern(split))):
            try:
                rows, sound_bytes = _read(path, key)
            except _OtherEvaluation as what:
                if not discard_other:
                    pattern = folder / journal_pattern(split)
                    raise InputError(f"--resume: {what}; to begin anew, delete {pattern}") from what
                others[path] = str(what)
                continue
            known |= rows
            if path == own:
                stored, own_bytes = rows, sound_bytes
    except InputError as error:
        problem = str(error)

    # The exchange. No process writes, or cuts off what is damaged, before all have read.
    of_processes = group.gather((problem, set(known)))
    problems = [problem for problem, _ in of_processes if problem is not None]
    if problems:
        raise InputError(problems[0])
    for path in others:
        path.unlink(missing_ok=True)
    discarded = [what for those in group.gather(list(others.values())) for what in those]  # before there are new ones
    if discarded and group.rank == 0:
        print(f"warning: {discarded[0]}: it is deleted", flush=True)
    known_to_others = set().union(*(numbers for _, numbers in of_processes[: group.rank]))
    for number in known_to_others & known.keys():
        del known[number]
    known_to_all = known_to_others.union(*(numbers for _, numbers in of_processes))
    return Journal(own, key, own_bytes, stored, known, known_to_all)


def has_journal(folder: Path, split: str) -> bool:
    """Tell whether a journal of the split is in the folder."""
    return any(folder.glob(journal_pattern(split)))


def delete_journals(folder: Path, split: str) -> None:
    """Delete all journals of the split, of which other processes may delete some at the same time.

    The first one, which has all rows behind the search, is deleted last: a kill in between loses nothing.
    """
    for path in sorted(folder.glob(journal_pattern(split)), reverse=True):
        path.unlink(missing_ok=True)


def weights_digest(model: nn.Module) -> str:
    """Return a digest of all parameters and buffers of a model that is not prepacked, in their own types.

    A core hashes about 0.9 GB a second (SHA-256, an AMD EPYC with instructions for it), and all cores work: the 1.6 GB
    of bart-large take two seconds on one core.
    """

    def digest(item: tuple[str, Tensor]) -> str:
        name, tensor = item
        values = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
        return f"{name} {tensor.dtype} {list(tensor.shape)} {hashlib.sha256(values.numpy()).hexdigest()}"

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # hashlib lets other threads work
        return json_digest(list(pool.map(digest, [*model.named_parameters(), *model.named_buffers()])))


def texts_digest(texts: Sequence[str]) -> str:
    """Return a digest that changes if a text does."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\n")
    return digest.hexdigest()


def json_digest(value: Any) -> str:
    """Return a digest of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(stored: Key, key: Key) -> str:
    """Say which entries of two keys differ: values if they are short, else names."""
    changes = []
    for name in dict.fromkeys([*stored, *key]):
        before, now = stored.get(name), key.get(name)
        if before != now:
            is_short = max(len(str(before)), len(str(now))) < _DIGEST_LENGTH
            changes.append(f"{name} {before!r}, now {now!r}" if is_short else f"other {name}")
    return ", ".join(changes)


def _record(number: int, row: Row) -> dict[str, Any]:
    record = {"row": number, "texts": row.texts, "repeats_special_tokens": row.repeats, "rank": row.rank}
    return record if row.batch_seconds is None else {**record, "batch_seconds": row.batch_seconds}


def _line(record: dict[str, Any]) -> bytes:
    checksum = zlib.crc32(json.dumps(record).encode())
    return json.dumps({**record, "crc32": checksum}).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the record of a line; None if it is damaged."""
    try:
        record = json.loads(line)
        checksum = record.pop("crc32")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if zlib.crc32(json.dumps(record).encode()) == checksum else None


def _read(path: Path, key: Key) -> tuple[dict[int, Row], int]:
    """Read a journal up to the first line that is torn or damaged.

    Returns:
        The rows, and the bytes that they and the header take; 0 bytes if there is no header.

    Raises:
        _OtherEvaluation: the journal has another key.
        InputError: it cannot be read.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if len(lines) == 1:  # nothing, or a torn header
        return {}, 0
    header = _parse(lines[0])
    if header is None:
        _say_damage(path, 1)
        return {}, 0
    if header["format"] != _FORMAT:
        raise _OtherEvaluation(f"{path} is of another version (format {header['format']})")
    if header["key"] != key:
        raise _OtherEvaluation(f"{path} is of another evaluation ({differences(header['key'], key)})")

    rows, sound_bytes = {}, len(lines[0]) + 1
    for place, line in enumerate(lines[1:-1], start=2):  # behind the last newline is nothing, or a torn line
        record = _parse(line)
        if record is None:
            _say_damage(path, place)
            break
        seconds = record.get("batch_seconds")
        rows[record["row"]] = Row(record["texts"], record["repeats_special_tokens"], seconds, record["rank"])
        sound_bytes += len(line) + 1
    return rows, sound_bytes


def _say_damage(path: Path, place: int) -> None:
    print(f"warning: {path}: line {place} is damaged; what it and the next ones held is generated again")
