"""Lists the reference's own sources: stories on Google Drive, URL lists on GitHub, XSum's archive on S3."""

from typing import NamedTuple


class RemoteFile(NamedTuple):
    """A file to download, and the hash that it must have."""

    name: str
    url: str
    md5: str | None  # as torchtext publishes it; None if no one publishes it


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
