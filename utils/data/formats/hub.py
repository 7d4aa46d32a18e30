"""Find the tables of a data set on the Hugging Face hub, and download them into the hub's cache."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,  # of the HTTP library that the client uses
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bart.errors import InputError

from .table_names import Tables, check_complete, choose_config, find_tables

CONVERTED = "refs/convert/parquet"  # the branch to which the hub converts data sets of any form


class HubUnreachable(InputError):
    """The hub cannot be reached now."""


class HubDataset(NamedTuple):
    """A data set of the hub, and the advice to give if it cannot be downloaded."""

    name: str
    config: str | None  # a folder of tables; None for the only one
    revision: str | None  # a commit or a branch; None for the main branch
    other_revision: str  # how to give another revision
    other_ways: str  # other ways to get data

    @property
    def description(self) -> str:
        """Name the data set and its revision, for messages."""
        revision = "" if self.revision is None else f", revision {self.revision},"
        return f"the hub's data set {self.name}{revision}"


class HubFile(NamedTuple):
    """A file downloaded from a data set."""

    name: str  # within the repository
    path: Path
    sha256: str


@dataclass(frozen=True)
class HubTables:
    """The tables of a data set at one commit, to be downloaded."""

    commit: str
    names: Tables
    hashes: dict[str, str]  # of each file, by its name, as the hub states it

    def check_has(self, dataset: HubDataset, split: str) -> None:
        """Raise InputError if the data set has no table of the split."""
        if split not in self.names:
            raise InputError(
                f"{dataset.description} has no table of the split {split}; give another: {dataset.other_revision}; "
                f"or {dataset.other_ways}"
            )

    def download(self, dataset: HubDataset, split: str) -> list[HubFile]:
        """Download the files of a split, in the order of their rows. An interrupted download continues.

        Raises:
            InputError: the split is missing, a download fails, or a hash is wrong. The message says what to do instead.
        """
        self.check_has(dataset, split)
        files = []
        with _explain_failures(dataset):
            for name in self.names[split]:
                path = Path(hf_hub_download(dataset.name, name, repo_type="dataset", revision=self.commit))
                files.append(HubFile(name, path, _checked_sha256(dataset, path, name, self.hashes[name])))
        return files


def list_tables(dataset: HubDataset) -> HubTables:
    """Find the tables of all splits at the latest commit of the revision.

    Without a revision they are those of the main branch or, if that has no tables, of the hub's own conversion.

    Raises:
        HubUnreachable: the hub does not answer.
        InputError: the data set or the revision is missing, or its tables are ambiguous or incomplete.
    """
    with _explain_failures(dataset):
        info = HfApi().dataset_info(dataset.name, revision=dataset.revision, files_metadata=True)
        if dataset.revision is None and not find_tables(file.rfilename for file in info.siblings or ()):
            with suppress(RevisionNotFoundError):  # then it has no tables, which download() reports
                info = HfApi().dataset_info(dataset.name, revision=CONVERTED, files_metadata=True)
    remote = {file.rfilename: file for file in info.siblings or ()}
    names = choose_config(find_tables(remote), dataset.config, dataset.description)
    check_complete(names, dataset.description)
    hashes = {name: _known_hash(remote[name]) for files in names.values() for name in files}
    return HubTables(str(info.sha), names, hashes)


@contextmanager
def _explain_failures(dataset: HubDataset) -> Iterator[None]:
    """Turn the client's errors into InputErrors that say what to do instead."""
    source = f"the hub's data set {dataset.name}"
    try:
        yield
    except InputError:
        raise
    except GatedRepoError as error:
        raise InputError(f"{source} asks for access; request it there and run `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{source} has no revision {dataset.revision}; give another: {dataset.other_revision}"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{source} does not exist (any more); {dataset.other_ways}") from error
    except (HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise HubUnreachable(
            f"{source} could not be fetched ({reason}); run the same command again to go on, or {dataset.other_ways}"
        ) from error


def _known_hash(remote: Any) -> str:
    """Return the hub's hash of a file: SHA-256 of a large one, git's hash of a small one."""
    return f"sha256:{remote.lfs.sha256}" if remote.lfs is not None else f"git:{remote.blob_id}"


def _checked_sha256(dataset: HubDataset, path: Path, name: str, known: str) -> str:
    """Return the SHA-256 of a downloaded file. Delete the file and raise InputError if it is not the known one."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    is_right = known == f"sha256:{sha256}"
    if known.startswith("git:"):
        is_right = known == "git:" + hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()
    if not is_right:
        path.resolve().unlink()  # in the cache: the path is a link to it
        path.unlink(missing_ok=True)
        raise InputError(
            f"the hub's data set {dataset.name}: {name} came with a wrong hash and was deleted; run the same command "
            f"again, or {dataset.other_ways}"
        )
    return sha256
