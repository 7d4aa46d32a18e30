"""Runs scripts/get_data.sh with the reference's own sources: Drive, GitHub and S3 are on the loopback interface."""

import fcntl
import hashlib
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bart.errors import InputError
from tests.loopback_web import LoopbackWeb, Page
from tests.utils.corpora.get_data_command import (
    ROOT,
    SPLITS,
    get_data,
    left_behind,
    lines_of,
    refusal,
    story_name,
    tar_of,
)
from utils.cli.parser import parse_arguments
from utils.corpora.get_data import GetDataArguments, get_corpus
from utils.corpora.originals import STORY_ARCHIVES, URL_LISTS, XSUM_ARCHIVE

Get = Callable[..., subprocess.CompletedProcess[str]]
COUNTS = ("--expected_counts", "3,1,1")
STEP = 512 * 1024  # the client writes to disk in these steps, and goes on after the last whole one
NOISE = random.Random(0).randbytes(STEP + 5000)  # makes an archive longer than that
QUOTA_PAGE = Page(
    b'<!DOCTYPE html><html><body><p class="uc-error-caption">Sorry</p>\n'
    b'<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently.</p></body></html>',
    "text/html; charset=utf-8",
)
# Calls get_corpus with the hashes of the files that the test serves, in place of the reference's.
WITH_HASHES = """
import json, sys
from bart.errors import InputError
from utils.corpora.get_data import GetDataArguments, get_corpus
from utils.corpora.originals import STORY_ARCHIVES, URL_LISTS
folder, hashes = sys.argv[1], json.loads(sys.argv[2])
archives, lists = ([file._replace(md5=hashes[file.name]) for file in files] for files in (STORY_ARCHIVES, URL_LISTS))
try:
    get_corpus("cnn_dm", GetDataArguments(folder, "cnn_dm", "original", expected_counts="3,1,1"), archives, lists)
except InputError as error:
    sys.exit(f"error: {error}")
"""


@pytest.fixture
def web(tmp_path: Path):
    with LoopbackWeb(tmp_path) as web:
        yield web


@pytest.fixture
def get(web: LoopbackWeb, tmp_path: Path) -> Get:
    def run(corpus: str, *flags: str) -> subprocess.CompletedProcess[str]:
        environment = {**web.environment(), "BART_DATA_SOURCE": "original", "HOME": str(tmp_path)}
        return get_data(tmp_path / "data", corpus, *flags, cwd=tmp_path, **environment)

    return run


def story_files(urls: list[str]) -> dict[str, bytes]:
    return {story_name(url): f"Text of {url}\n\n@highlight\n\nPoint of {url}\n".encode() for url in urls}


URLS = {"train": ["a", "b", "empty"], "val": ["c"], "test": ["d"]}
STORIES = story_files(["a", "b", "c", "d", "of no split"]) | {story_name("empty"): b"\n@highlight\nAlone"}
LINES = {
    "train.source": ["Text of a.", "Text of b.", ""],
    "train.target": ["Point of a.", "Point of b.", "Alone."],
    "val.source": ["Text of c."],
    "val.target": ["Point of c."],
    "test.source": ["Text of d."],
    "test.target": ["Point of d."],
}


def serve_stories(web: LoopbackWeb) -> dict[str, str]:
    """Serve archives and lists at the reference's addresses; Drive asks first. Returns the MD5 of each."""
    hashes = {}
    halves = [dict(list(STORIES.items())[start::2]) for start in (0, 1)]
    for remote, half in zip(STORY_ARCHIVES, halves, strict=True):
        site = remote.name.removesuffix("_stories.tgz")
        content = tar_of({f"{site}/stories/{name}": half[name] for name in half} | {f"{site}/noise": NOISE})
        identifier = remote.url.partition("id=")[2]
        web.pages[remote.url] = Page(
            b'<html><form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
            b'<input type="hidden" name="id" value="%b"><input type="hidden" name="confirm" value="t"></form></html>'
            % identifier.encode(),
            "text/html; charset=utf-8",
        )
        address = f"https://drive.usercontent.google.com/download?id={identifier}&confirm=t"
        web.pages[address] = Page(content, attachment=remote.name)
        hashes[remote.name] = hashlib.md5(content).hexdigest()
    for remote, split in zip(URL_LISTS, SPLITS, strict=True):
        content = "".join(f"{url}\n" for url in URLS[split]).encode()
        web.pages[remote.url] = Page(content, "text/plain; charset=utf-8")
        hashes[remote.name] = hashlib.md5(content).hexdigest()
    return hashes


def get_with_hashes(web: LoopbackWeb, tmp_path: Path, hashes: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITH_HASHES, str(tmp_path / "data"), json.dumps(hashes)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), **web.environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_stories_come_from_drive_and_go_on_after_a_cut(web: LoopbackWeb, tmp_path: Path) -> None:
    hashes = serve_stories(web)
    address = next(address for address, page in web.pages.items() if page.attachment == "cnn_stories.tgz")
    web.pages[address].cuts = [STEP + 1000]
    process = get_with_hashes(web, tmp_path, hashes)
    assert process.returncode == 0, process.stderr
    assert (address, f"bytes={STEP}-") in web.requests
    assert lines_of(tmp_path / "data" / "cnn_dm") == LINES
    manifest = json.loads((tmp_path / "data" / "cnn_dm" / "corpus.json").read_text())
    assert manifest["empty_sources"] == {"train": 1, "val": 0, "test": 0}
    assert manifest["asked"] == {"source": "original"}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cnn_dm"]


def test_another_hash_than_the_references_is_refused(web: LoopbackWeb, get: Get, tmp_path: Path) -> None:
    serve_stories(web)
    line = refusal(get("cnn_dm", *COUNTS))
    assert URL_LISTS[0].url in line and "all_train.txt has MD5" in line and f"not {URL_LISTS[0].md5}" in line
    assert not [name for name in left_behind(tmp_path / "data") if name.endswith(("txt", "tgz", "part"))]


def test_a_quota_page_is_called_one(web: LoopbackWeb, tmp_path: Path) -> None:
    hashes = serve_stories(web)
    web.pages[STORY_ARCHIVES[1].url] = QUOTA_PAGE
    process = get_with_hashes(web, tmp_path, hashes)
    assert process.returncode == 1
    line = process.stderr.splitlines()[-1]
    assert line.startswith(f"error: {STORY_ARCHIVES[1].url}: Google Drive answered with a quota page")
    assert "take the hub's copy (leave BART_DATA_SOURCE out)" in line and "--stories" in line
    assert not (tmp_path / "data" / "cnn_dm").exists()


def xsum_archive(**changed: str) -> bytes:
    files = {"train": ("a\u2028b\nc\nd\n", "A\nC\nD\n"), "val": ("e\n", "E\n"), "test": ("f\n", "F\n")}
    texts = {f"{split}.{side}": files[split][i] for split in SPLITS for i, side in enumerate(("source", "target"))}
    texts |= {name.replace("_", "."): text for name, text in changed.items()}
    return tar_of({f"xsum/{name}": text.encode() for name, text in texts.items()})


def test_xsum_comes_from_its_archive(web: LoopbackWeb, get: Get, tmp_path: Path) -> None:
    web.pages[XSUM_ARCHIVE.url] = Page(xsum_archive())
    leftover = tmp_path / "data" / ".xsum.part-1"  # of a killed process
    leftover.mkdir(parents=True)
    process = get("xsum", *COUNTS)
    assert process.returncode == 0, process.stderr
    assert not leftover.exists()
    lines = lines_of(tmp_path / "data" / "xsum")
    assert (lines["train.source"], lines["val.target"]) == (["a\u2028b", "c", "d"], ["E"])
    assert "is up to date" in get("xsum", *COUNTS).stdout


def test_a_second_run_goes_on_where_the_first_gave_up(web: LoopbackWeb, get: Get, tmp_path: Path) -> None:
    web.pages[XSUM_ARCHIVE.url] = Page(xsum_archive(noise=NOISE.hex()), cuts=[STEP + 1000, 0, 0])
    line = refusal(get("xsum", *COUNTS))
    assert f"{XSUM_ARCHIVE.url}: xsum.tar.gz could not be fetched" in line and "run the same command again" in line
    assert not (tmp_path / "data" / "xsum").exists()
    assert get("xsum", *COUNTS).returncode == 0
    assert web.requests[-1] == (XSUM_ARCHIVE.url, f"bytes={STEP}-")


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (QUOTA_PAGE, "a web page (a quota page?) came in place of xsum.tar.gz; take the hub's copy"),
        (Page(b"AccessDenied", status=403), "403 Client Error"),
        (Page(xsum_archive()[:-100]), "xsum.tar.gz: broken or cut short"),
        (Page(xsum_archive(val_target="E\nE\n")), "val cannot be read"),
        (Page(xsum_archive(test_source="f\ng\n", test_target="F\nG\n")), "gave 3 / 1 / 2 pairs"),
        (Page(tar_of({"xsum/train.source": b"a\n"})), "no train.target in it"),
        (Page(tar_of({"../../escaped": b"a\n"})), "../../escaped is outside the folder; this archive is not trusted"),
    ],
)
def test_what_is_not_the_corpus_is_refused(
    web: LoopbackWeb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Page, message: str
) -> None:
    web.pages[XSUM_ARCHIVE.url] = page
    for name, value in web.environment().items():
        monkeypatch.setenv(name, value)
    data = tmp_path / "data"
    with pytest.raises(InputError, match=re.escape(message)):
        get_corpus("xsum", GetDataArguments(str(data), "xsum", "original", expected_counts="3,1,1"))
    assert not (data / "xsum").exists() and not list(tmp_path.rglob("escaped"))
    assert not list(data.glob(".xsum.part*"))


@pytest.mark.parametrize("kind", ["folder", "archives", "archive"])
def test_stories_that_are_there(tmp_path: Path, kind: str) -> None:
    given = tmp_path / "given"
    (given / "url_lists").mkdir(parents=True)
    for split, urls in URLS.items():
        (given / "url_lists" / f"all_{split}.txt").write_text("\n".join(urls))
    if kind == "folder":
        (given / "cnn" / "stories").mkdir(parents=True)
        for name, content in STORIES.items():
            (given / "cnn" / "stories" / name).write_bytes(content)
    else:
        (given / "stories.tgz").write_bytes(tar_of(STORIES))
    stories = given / "stories.tgz" if kind == "archive" else given
    process = get_data(tmp_path / "data", "cnn_dm", "--stories", stories, *COUNTS, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert lines_of(tmp_path / "data" / "cnn_dm") == LINES


def test_stories_that_cannot_be_used(tmp_path: Path) -> None:
    arguments = (tmp_path / "data", "cnn_dm", "--stories")
    (tmp_path / "given").mkdir()
    assert "--url_lists names the folder" in refusal(get_data(*arguments, "given", cwd=tmp_path))
    for split in SPLITS:
        (tmp_path / f"all_{split}.txt").write_text("a\n")
    line = refusal(get_data(*arguments, "given", "--url_lists", ".", cwd=tmp_path))
    assert "is not among the 0 stories" in line
    assert left_behind(tmp_path / "data") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--corpus", "cnn"], "invalid choice: 'cnn'"),
        (["--stories", "."], "give --corpus too"),
        (["--corpus", "xsum", "--stories", "."], "xsum has other sources"),
        (["--corpus", "cnn_dm", "--stories", "nowhere"], "no such file or folder"),
        (["--corpus", "cnn_dm", "--url_lists", "."], "--url_lists goes with --stories"),
        (["--corpus", "xsum", "--expected_counts", "1,2"], "give three numbers"),
    ],
)
def test_arguments_that_contradict_each_other(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_arguments(GetDataArguments, "", arguments)


def test_two_at_once_do_not_meet(tmp_path: Path, get: Get) -> None:
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / ".get_data.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is getting data" in refusal(get("xsum"))
