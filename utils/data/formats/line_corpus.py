"""Write data folders of {train,val,test}.{source,target} and a manifest, complete or not at all."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bart.atomic_directory import atomic_directory
from bart.errors import InputError

from ...io.json_files import read_json, write_json
from ...runtime.progress import ProgressBar
from .pair import Pair

MANIFEST = "corpus.json"


class Counts(NamedTuple):
    """The number of pairs in each split."""

    train: int
    val: int
    test: int

    def __str__(self) -> str:
        return " / ".join(f"{count:,}" for count in self)


def is_there(folder: Path, asked: Mapping[str, str]) -> bool:
    """Return whether the folder holds the complete corpus that is asked for.

    Raises:
        InputError: the folder holds something else, which is not overwritten.
    """
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if "asked" in manifest:
        if manifest["asked"] != asked:
            raise InputError(
                f"{folder} was made from {_shown(manifest['asked'])}, not {_shown(asked)}; "
                "delete it, or give another folder"
            )
        return all(
            (folder / name).is_file() and (folder / name).stat().st_size == file["bytes"]
            for name, file in manifest["files"].items()
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} holds other files (no {MANIFEST} of this program); give another folder")
    return False


def _shown(asked: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in asked.items())


def write_corpus(
    folder: Path,
    splits: Mapping[str, Iterable[Pair]],
    expected: Counts,
    asked: Mapping[str, str],
    made_from: Mapping[str, Any],
) -> None:
    """Write the line files of all splits and the manifest.

    Args:
        folder: the folder to create.
        splits: the pairs of each split.
        expected: the number of pairs that each split must have.
        asked: the settings that the corpus is built with; ``is_there`` compares them.
        made_from: the source files and versions, for the manifest.

    Raises:
        InputError: the number of pairs is not the expected one.
    """
    with atomic_directory(folder) as partial:
        counts, empty, files = {}, {}, {}
        for split, pairs in splits.items():
            counts[split], empty[split], written = write_split(partial, split, pairs, getattr(expected, split))
            files |= written
        if Counts(**counts) != expected:
            raise InputError(
                f"{folder}: {_shown(asked)} gave {Counts(**counts)} pairs for train / val / test, but {expected} "
                "are expected; nothing was written. Another copy of the corpus? --expected_counts accepts it"
            )
        write_json(
            partial / MANIFEST,
            {"asked": asked, "made_from": made_from, "pairs": counts, "empty_sources": empty, "files": files},
        )
    empty_sources = sum(empty.values())
    print(f"Wrote {folder}: {expected} pairs for train / val / test, {empty_sources:,} of them without a text.")


def write_split(
    folder: Path, split: str, pairs: Iterable[Pair], expected: int | None = None
) -> tuple[int, int, dict[str, dict[str, Any]]]:
    """Write the line files of a split and sync them to disk.

    Returns:
        The number of pairs, the number of pairs with an empty source, and the manifest's entries for the two files.
    """
    # Sizes and hashes are taken while the lines are written, so that nothing is read back.
    names = [f"{split}.{side}" for side in Pair._fields]
    digests = [hashlib.sha256() for _ in names]
    sizes = [0] * len(names)
    count = empty = 0
    with ExitStack() as stack:
        files = [stack.enter_context((folder / name).open("wb")) for name in names]
        for pair in ProgressBar(pairs, desc=f"Writing {split}", total=expected, unit=" pairs", mininterval=1, delay=5):
            count += 1
            empty += not pair.source
            for side, text in enumerate(pair):
                line = text.encode() + b"\n"
                files[side].write(line)
                digests[side].update(line)
                sizes[side] += len(line)
        for file in files:
            file.flush()
            os.fsync(file.fileno())
    described = zip(names, sizes, digests, strict=True)
    return count, empty, {name: {"bytes": size, "sha256": digest.hexdigest()} for name, size, digest in described}
