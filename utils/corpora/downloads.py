"""Downloads from Google Drive, GitHub and S3, each checked by its hash."""

import hashlib
from pathlib import Path

import gdown
import requests
from gdown.exceptions import DownloadError, FileURLRetrievalError

from bart.errors import InputError

from .originals import XSUM_ARCHIVE, RemoteFile

_HUB_COPY = "take the hub's copy (leave BART_DATA_SOURCE out)"
_RETRIES = 2  # each goes on from the byte at which the connection broke
_TIMEOUT_SECONDS = 60.0
_START_OF_WEB_PAGE = (b"<!doctype html", b"<html")


def download(remote: RemoteFile, folder: Path) -> Path:
    """Get a file into ``folder``, going on with what an earlier attempt left (``<name>....part``).

    Raises:
        InputError: The file cannot be fetched, or it is a web page or has another hash; then it is deleted. The message
            names the address.
    """
    # Fetch the file, or what is missing of it.
    path = folder / remote.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        gdown.download(
            remote.url, str(path), resume=True, use_cookies=False, timeout=_TIMEOUT_SECONDS, retries=_RETRIES
        )
    except FileURLRetrievalError as error:
        raise InputError(
            f"{remote.url}: Google Drive answered with a quota page (or another web page) in place of {remote.name}; "
            f"{_other_ways(remote)}"
        ) from error
    except (DownloadError, requests.RequestException) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{remote.url}: {remote.name} could not be fetched ({reason}); run the same command again to go on, delete "
            f"{folder} to start anew, or {_other_ways(remote)}"
        ) from error

    # Keep it only if it is the right one.
    try:
        _check(remote, path)
    except InputError:
        path.unlink()
        raise
    return path


def _check(remote: RemoteFile, path: Path) -> None:
    """Raise InputError if the file is a web page or has another hash than the reference's."""
    with path.open("rb") as file:
        if file.read(100).lstrip().lower().startswith(_START_OF_WEB_PAGE):
            raise InputError(
                f"{remote.url}: a web page (a quota page?) came in place of {remote.name}; {_other_ways(remote)}"
            )
        file.seek(0)
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if remote.md5 not in (None, md5):
        raise InputError(
            f"{remote.url}: {remote.name} has MD5 {md5}, not {remote.md5}, so it is not the file the reference used; "
            f"it was deleted: run the same command again, or {_other_ways(remote)}"
        )


def _other_ways(remote: RemoteFile) -> str:
    if remote == XSUM_ARCHIVE:
        return _HUB_COPY
    return f"{_HUB_COPY}, or get the archives with a browser and give their folder with --stories"
