"""Gets CNN-DM and XSum as line files, from the hub, from the reference's own sources, or from stories on this machine.

    python -m utils.corpora.get_data --folder data --corpus all

writes data/cnn_dm and data/xsum, each with {train,val,test}.{source,target} and corpus.json: the origin, the numbers of
pairs, and a hash of each file. A corpus that is there already is left alone.
"""

import fcntl
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bart.errors import InputError

from ..cli.options import option
from ..cli.run import run_command
from ..data.formats import hub
from ..data.formats.line_corpus import Counts, is_there, write_corpus
from ..data.formats.pair import Pair
from ..data.formats.parquet import Columns, read_pairs, without_set_off_periods
from . import originals, stories
from .archives import extract

CORPORA = ("cnn_dm", "xsum")
SPLITS = Counts._fields
# In the stories, 114 of the training articles are empty: the reference trained on them, the hub's copy lacks them.
STORIES_COUNTS = Counts(287_227, 13_368, 11_490)
HUB_COUNTS = {"cnn_dm": Counts(287_113, 13_368, 11_490), "xsum": Counts(204_045, 11_332, 11_334)}
HUB_COLUMNS = {"cnn_dm": Columns("article", "highlights"), "xsum": Columns("document", "summary")}
_OTHER_WAYS = "take the reference's own sources: BART_DATA_SOURCE=original, or --stories with the story archives"
HUB_DATASETS = {
    "cnn_dm": hub.HubDataset(
        "abisee/cnn_dailymail",
        "3.0.0",
        # This commit is of January 2024, and projects that pin this data set name it.
        "96df5e686bee6baa90b8bee7c28b81fa3fa6223d",
        "--cnn_dm_revision main",
        _OTHER_WAYS,
    ),
    # The name of the branch with the Parquet files is known to stay; their commits are not.
    "xsum": hub.HubDataset("EdinburghNLP/xsum", "default", hub.CONVERTED, "--xsum_revision COMMIT", _OTHER_WAYS),
}
_DOWNLOADS = ".downloads"
_LOCK = ".get_data.lock"
_STORY_ARCHIVE_SUFFIXES = (".tgz", ".tar", ".tar.gz")


@dataclass(frozen=True)
class GetDataArguments:
    folder: str = option("data", "Corpora", "folder to write cnn_dm/ and xsum/ into")
    corpus: str = option("all", "Corpora", "which corpus to get", choices=(*CORPORA, "all"))
    source: str = option(
        "hub", "Sources", "take the hub's copy or the reference's own sources", choices=("hub", "original")
    )
    stories: str = option(
        "", "Sources", "for cnn_dm: a folder of story files or of their archives, or one archive; instead of --source"
    )
    url_lists: str = option(
        "", "Sources", "folder of all_train.txt, all_val.txt and all_test.txt (default: url_lists beside the stories)"
    )
    cnn_dm_revision: str = option(HUB_DATASETS["cnn_dm"].revision, "Sources", "commit or branch of the hub's cnn_dm")
    xsum_revision: str = option(HUB_DATASETS["xsum"].revision, "Sources", "commit or branch of the hub's xsum")
    expected_counts: str = option(
        "", "Sources", "pairs in train,val,test of another copy of the corpus (default: the known counts)"
    )

    def check(self) -> None:
        """Raise InputError if arguments contradict each other or name no file."""
        if (self.stories or self.expected_counts) and self.corpus == "all":
            raise InputError("--stories and --expected_counts are for one corpus: give --corpus too")
        if self.stories and self.corpus != "cnn_dm":
            raise InputError("--stories are CNN's and the Daily Mail's; xsum has other sources")
        if self.stories and not Path(self.stories).exists():
            raise InputError(f"--stories {self.stories}: no such file or folder")
        if self.url_lists and not self.stories:
            raise InputError("--url_lists goes with --stories; the other sources have their own lists")
        self.counts_or(STORIES_COUNTS)

    def counts_or(self, known: Counts) -> Counts:
        """Return the counts that the corpus must have: those asked for, or else the ``known`` ones."""
        if not self.expected_counts:
            return known
        try:
            return Counts(*map(int, self.expected_counts.split(",")))
        except (ValueError, TypeError) as error:
            raise InputError(f"--expected_counts {self.expected_counts}: give three numbers, train,val,test") from error

    def asked(self, corpus: str) -> dict[str, str]:
        """Return what tells one copy of a corpus from another."""
        if self.stories:
            return {"source": "stories"}
        if self.source == "original":
            return {"source": "original"}
        return {"source": "hub", "revision": getattr(self, f"{corpus}_revision")}


def get_corpus(
    corpus: str,
    arguments: GetDataArguments,
    story_archives: tuple[originals.RemoteFile, ...] = originals.STORY_ARCHIVES,
    url_lists: tuple[originals.RemoteFile, ...] = originals.URL_LISTS,
) -> None:
    """Make one corpus, unless it is there already.

    Args:
        corpus: One of ``CORPORA``.
        arguments: The flags.
        story_archives: The reference's archives of CNN-DM's stories.
        url_lists: The reference's lists of the pages in each split of CNN-DM.

    Raises:
        InputError: The corpus cannot be made; then no part of it is left.
    """
    folder, asked = Path(arguments.folder) / corpus, arguments.asked(corpus)
    if is_there(folder, asked):
        print(f"{folder} is up to date.")
        return
    downloads = folder.parent / _DOWNLOADS / corpus
    if asked["source"] == "hub":
        _from_hub(corpus, arguments, folder)
    elif asked["source"] == "original":
        _from_originals(corpus, arguments, folder, downloads, story_archives, url_lists)
    else:
        given = Path(arguments.stories)
        lists_folder = Path(arguments.url_lists or (given if given.is_dir() else given.parent) / "url_lists")
        _from_stories(_story_archives(given), lists_folder, arguments, folder)
    shutil.rmtree(downloads, ignore_errors=True)
    with suppress(OSError):  # it may hold unfinished downloads of the other corpus
        downloads.parent.rmdir()


def _from_hub(corpus: str, arguments: GetDataArguments, folder: Path) -> None:
    dataset = HUB_DATASETS[corpus]._replace(revision=getattr(arguments, f"{corpus}_revision"))
    tables = hub.list_tables(dataset)
    files = {split: tables.download(dataset, split) for split in SPLITS}
    prepare = without_set_off_periods if corpus == "cnn_dm" else str
    write_corpus(
        folder,
        {split: read_pairs([file.path for file in files[split]], HUB_COLUMNS[corpus], prepare) for split in SPLITS},
        arguments.counts_or(HUB_COUNTS[corpus]),
        arguments.asked(corpus),
        {
            "dataset": dataset.name,
            "commit": tables.commit,
            "sha256": {file.name: file.sha256 for split in SPLITS for file in files[split]},
        },
    )


def _from_originals(
    corpus: str,
    arguments: GetDataArguments,
    folder: Path,
    downloads: Path,
    story_archives: tuple[originals.RemoteFile, ...],
    url_lists: tuple[originals.RemoteFile, ...],
) -> None:
    from .downloads import download  # the downloader takes longer to import than everything else here

    if corpus == "xsum":
        _from_xsum_archive(download(originals.XSUM_ARCHIVE, downloads), arguments, folder)
        return
    lists = [download(remote, downloads / "url_lists") for remote in url_lists]
    archives = [download(remote, downloads) for remote in story_archives]
    _from_stories(archives, lists[0].parent, arguments, folder)


def _from_xsum_archive(archive: Path, arguments: GetDataArguments, folder: Path) -> None:
    with _scratch_folder(folder) as scratch:
        extract(archive, scratch)
        write_corpus(
            folder,
            {split: _pairs_of_lines(scratch / "xsum", split, archive) for split in SPLITS},
            arguments.counts_or(HUB_COUNTS["xsum"]),
            arguments.asked("xsum"),
            {"archive": originals.XSUM_ARCHIVE.url},
        )


def _pairs_of_lines(folder: Path, split: str, archive: Path) -> Iterator[Pair]:
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context((folder / f"{split}.{side}").open(encoding="utf-8", newline="\n"))
                for side in Pair._fields
            ]
            for lines in zip(*files, strict=True):
                yield Pair(*(line.removesuffix("\n") for line in lines))
    except FileNotFoundError as error:
        raise InputError(f"{archive}: no {Path(error.filename).name} in it; take the hub's copy") from error
    except ValueError as error:  # not UTF-8, or more lines on one side
        raise InputError(f"{archive}: {split} cannot be read: {error}; take the hub's copy") from error


def _story_archives(given: Path) -> list[Path]:
    """List the archives at a path; there are none if it is a folder of story files."""
    if given.is_file():
        return [given]
    return sorted(path for path in given.iterdir() if path.name.endswith(_STORY_ARCHIVE_SUFFIXES))


def _from_stories(archives: list[Path], url_lists: Path, arguments: GetDataArguments, folder: Path) -> None:
    """Write CNN-DM from archives, or from the story files below --stories if there are no archives."""
    urls = {split: stories.read_urls(url_lists / f"all_{split}.txt") for split in SPLITS}
    with _scratch_folder(folder) as scratch:
        for archive in archives:
            extract(archive, scratch)
        found = stories.find_stories(scratch if archives else Path(arguments.stories))
        write_corpus(
            folder,
            {split: stories.pairs_of_urls(urls[split], found) for split in SPLITS},
            arguments.counts_or(STORIES_COUNTS),
            arguments.asked("cnn_dm"),
            {"stories": len(found), "archives": [archive.name for archive in archives]},
        )


@contextmanager
def _scratch_folder(corpus: Path) -> Iterator[Path]:
    """Make a folder to unpack archives into, on the disk of the corpus: TMPDIR may be too small."""
    with tempfile.TemporaryDirectory(prefix=f".{corpus.name}.part-", dir=corpus.parent) as folder:
        yield Path(folder)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes, and delete what killed ones left, but not their downloads."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise InputError(f"--folder {folder}: cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another process is getting data into it; wait for it to end") from error
        for corpus in CORPORA:
            for leftover in [*folder.glob(f".{corpus}.part-*"), *folder.glob(f".{corpus}.old-*")]:
                shutil.rmtree(leftover)
        yield


def _main(arguments: GetDataArguments) -> None:
    folder = Path(arguments.folder)
    with _only_one(folder):
        for corpus in CORPORA if arguments.corpus == "all" else (arguments.corpus,):
            get_corpus(corpus, arguments)


if __name__ == "__main__":
    sys.exit(run_command(GetDataArguments, "Get CNN-DM and XSum.", _main))
