"""Downloads of the reference's own sources: stories on Google Drive, URL lists on GitHub, XSum's archive on S3."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from bart.errors import InputError

_OTHERWISE = "take the hub's copy (leave BART_DATA_SOURCE out)"
_RETRIES = 2  # each goes on where the connection broke
_TIMEOUT_SECONDS = 60.0
_START_OF_WEB_PAGE = (b"<!doctype html", b"<html")


class RemoteFile(NamedTuple):
    """What is downloaded, and how it is recognized."""

    name: str
    url: str
    md5: str | None  # as torchtext publishes it; None where no one does


_DRIVE = "https://drive.google.com/uc?id="
_LISTS = "https://raw.githubusercontent.com/abisee/cnn-dailymail/master/url_lists/"
STORY_ARCHIVES = (
    RemoteFile("cnn_stories.tgz", _DRIVE + "0BwmD_VLjROrfTHk4NFg2SndKcjQ", "85ac23a1926a831e8f46a6b8eaf57263"),
    RemoteFile("dailymail_stories.tgz", _DRIVE + "0BwmD_VLjROrfM1BxdkxVaTY2bWs", "f9c5f565e8abe86c38bfa4ae8f96fd72"),
)
URL_LISTS = (
    RemoteFile("all_train.txt", _LISTS + "all_train.txt", "c8ca98cfcb6cf3f99a404552568490bc"),
    RemoteFile("all_val.txt", _LISTS + "all_val.txt", "83a3c483b3ed38b1392285bed668bfee"),
    RemoteFile("all_test.txt", _LISTS + "all_test.txt", "4f3ac04669934dbc746b7061e68a0258"),
)
XSUM_ARCHIVE = RemoteFile(
    "xsum.tar.gz", "https://s3.amazonaws.com/datasets.huggingface.co/summarization/xsum.tar.gz", None
)


def download(remote: RemoteFile, folder: Path) -> Path:
    """Get a file into ``folder``, going on with what an earlier attempt left (``<name>....part``).

    Raises InputError, naming the address, where it cannot be had, is a web page or has another hash; a wrong file is
    deleted.
    """
    import gdown
    import requests
    from gdown.exceptions import DownloadError, FileURLRetrievalError

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
    try:
        _check(remote, path)
    except InputError:
        path.unlink()
        raise
    return path


def _check(remote: RemoteFile, path: Path) -> None:
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
        return _OTHERWISE
    return f"{_OTHERWISE}, or get the archives with a browser and give their folder with --stories"
