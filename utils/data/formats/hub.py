"""Downloads of a data set's tables from the Hugging Face hub, into the hub's cache."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HTTPError,  # the base class of the errors of the client's HTTP library, whichever that is
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bart.errors import InputError

from .table_names import Tables, check_whole, choose_config, find_tables

CONVERTED = "refs/convert/parquet"  # the branch of the hub's own conversion, of data sets in whatever form


class HubUnreachable(InputError):
    """There is no way to the hub now."""


class HubDataset(NamedTuple):
    """A data set of the hub, and what to do where it cannot be had."""

    name: str
    config: str | None  # a folder of tables, None for the only one
    revision: str | None  # a commit, or a branch where none is known; None for the main branch
    other_revision: str  # how to ask for one
    other_ways: str  # to get data

    @property
    def where(self) -> str:
        """For messages."""
        revision = "" if self.revision is None else f", revision {self.revision},"
        return f"the hub's data set {self.name}{revision}"


class HubFile(NamedTuple):
    """A downloaded file."""

    name: str  # in the repository
    path: Path
    sha256: str


@dataclass(frozen=True)
class HubTables:
    """The tables of a data set at one commit, not yet downloaded."""

    commit: str
    names: Tables
    hashes: dict[str, str]  # what the hub says of each file, by its name

    def check_has(self, dataset: HubDataset, split: str) -> None:
        """Raise InputError where there is no such split."""
        if split not in self.names:
            raise InputError(
                f"{dataset.where} has no table of the split {split}; give another: {dataset.other_revision}; "
                f"or {dataset.other_ways}"
            )

    def download(self, dataset: HubDataset, split: str) -> list[HubFile]:
        """The files of a split in the order of their rows. A broken download goes on where it stopped.

        Raises InputError, in one line that says what to do instead, where that fails or a hash is wrong.
        """
        self.check_has(dataset, split)
        files = []
        with _failures_explained(dataset):
            for name in self.names[split]:
                path = Path(hf_hub_download(dataset.name, name, repo_type="dataset", revision=self.commit))
                files.append(HubFile(name, path, _checked_sha256(dataset, path, name, self.hashes[name])))
        return files


def list_tables(dataset: HubDataset) -> HubTables:
    """Find the tables of all splits, at the commit that the revision stands for now.

    Without a revision: of the main branch or, where that has no tables, of the hub's conversion. Raises InputError,
    HubUnreachable where the hub does not answer.
    """
    with _failures_explained(dataset):
        info = HfApi().dataset_info(dataset.name, revision=dataset.revision, files_metadata=True)
        if dataset.revision is None and not find_tables(file.rfilename for file in info.siblings or ()):
            with suppress(RevisionNotFoundError):  # there are no tables, which is said when one is asked for
                info = HfApi().dataset_info(dataset.name, revision=CONVERTED, files_metadata=True)
    remote = {file.rfilename: file for file in info.siblings or ()}
    names = choose_config(find_tables(remote), dataset.config, dataset.where)
    check_whole(names, dataset.where)
    hashes = {name: _known_hash(remote[name]) for files in names.values() for name in files}
    return HubTables(str(info.sha), names, hashes)


@contextmanager
def _failures_explained(dataset: HubDataset) -> Iterator[None]:
    where = f"the hub's data set {dataset.name}"
    try:
        yield
    except InputError:
        raise
    except GatedRepoError as error:
        raise InputError(f"{where} asks for access; request it there and run `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"{where} has no revision {dataset.revision}; give another: {dataset.other_revision}"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(f"{where} is not there (any more); {dataset.other_ways}") from error
    except (HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise HubUnreachable(
            f"{where} could not be fetched ({reason}); run the same command again to go on, or {dataset.other_ways}"
        ) from error


def _known_hash(remote: Any) -> str:
    """The SHA-256 that the hub has of all large files; of small ones it has git's hash."""
    return f"sha256:{remote.lfs.sha256}" if remote.lfs is not None else f"git:{remote.blob_id}"


def _checked_sha256(dataset: HubDataset, path: Path, name: str, known: str) -> str:
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
