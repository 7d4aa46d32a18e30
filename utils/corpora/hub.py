"""Downloads of a data set's Parquet files from the Hugging Face hub, into the hub's cache."""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

from bart.errors import InputError
from utils.corpora.parquet import Columns


class HubDataset(NamedTuple):
    """A data set of the hub."""

    name: str
    config: str
    revision: str  # a commit, or a branch where none is known
    columns: Columns
    other_revision: str  # the flag with which to ask for one


class HubFiles(NamedTuple):
    """What was downloaded."""

    commit: str
    files: dict[str, list[Path]]  # by split, in the order of their rows
    sha256: dict[str, str]  # by name in the repository


# The hub's names of the splits.
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def download_dataset(dataset: HubDataset) -> HubFiles:
    """Get the Parquet files of all splits at one commit. A broken download goes on where it stopped.

    Raises InputError, in one line that says what to do instead, where that fails or a hash is wrong.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,  # what the client's HTTP library raises, whichever that is
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"the hub's data set {dataset.name}"
    try:
        info = HfApi().dataset_info(dataset.name, revision=dataset.revision, files_metadata=True)
        remote = {file.rfilename: file for file in info.siblings or ()}
        files, hashes = {}, {}
        for split, names in _files_of_splits(dataset, remote).items():
            files[split] = [
                Path(hf_hub_download(dataset.name, name, repo_type="dataset", revision=info.sha)) for name in names
            ]
            for name, path in zip(names, files[split], strict=True):
                hashes[name] = _checked_sha256(where, path, remote[name])
    except GatedRepoError as error:
        raise InputError(f"{where} asks for access; request it there and run `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{where} has no revision {dataset.revision}; give another: {dataset.other_revision}"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{where} is not there (any more); {_OTHER_WAYS}") from error
    except (HTTPError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(
            f"{where} could not be fetched ({reason}); run the same command again to go on, or {_OTHER_WAYS}"
        ) from error
    return HubFiles(str(info.sha), files, hashes)


_OTHER_WAYS = "take the reference's own sources: BART_DATA_SOURCE=original, or --stories with the story archives"


def _files_of_splits(dataset: HubDataset, names: dict[str, Any]) -> dict[str, list[str]]:
    """Names by split: ``<config>/train-00000-of-00003.parquet`` and ``<config>/train/0000.parquet`` are both in use."""
    found = {}
    for split, hub_split in _SPLITS.items():
        pattern = re.compile(rf"{re.escape(dataset.config)}/{hub_split}[-/][^/]*\.parquet")
        found[split] = sorted(name for name in names if pattern.fullmatch(name))
        if not found[split]:
            raise InputError(
                f"the hub's data set {dataset.name}, revision {dataset.revision}, has no Parquet file of the split "
                f"{hub_split}; give another: {dataset.other_revision}; or {_OTHER_WAYS}"
            )
    return found


def _checked_sha256(where: str, path: Path, remote: Any) -> str:
    """The file's SHA-256, which for all large files is what the hub knows too; small ones have git's hash."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if remote.lfs is not None:
        is_right = sha256 == remote.lfs.sha256
    else:
        git_blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()
        is_right = git_blob == remote.blob_id
    if not is_right:
        path.resolve().unlink()  # in the cache: the path is a link to it
        path.unlink(missing_ok=True)
        raise InputError(
            f"{where}: {remote.rfilename} came with a wrong hash and was deleted; run the same command again, or "
            f"{_OTHER_WAYS}"
        )
    return sha256
