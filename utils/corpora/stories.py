"""Reads story files of CNN and the Daily Mail: an article, then its highlights, each under a line ``@highlight``.

The rules are those of the reference's corpus: untokenized, cased, one line per article and one per summary.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from bart.errors import InputError

from ..data.formats.pair import Pair

HIGHLIGHT = "@highlight"
# A line that ends with one of these needs no period. Closing quotes may be typographic.
_END_MARKS = (".", "!", "?", "'", "`", '"', "\u2019", "\u201d", ")")


def pair_of_story(text: str) -> Pair:
    """Join the article's lines by spaces, and the highlights likewise; lines without an end mark get a period.

    All that follows the first ``@highlight`` is summary. The article is empty if the file has none.
    """
    article: list[str] = []
    highlights: list[str] = []
    lines = article
    for line in map(str.strip, text.split("\n")):
        if line.startswith(HIGHLIGHT):
            lines = highlights
        elif line:
            lines.append(_with_period(line))
    return Pair(" ".join(article), " ".join(highlights))


def _with_period(line: str) -> str:
    return line if HIGHLIGHT in line or line.endswith(_END_MARKS) else line + "."


def find_stories(folder: Path) -> dict[str, Path]:
    """Find the story files below a folder, by name without suffix: the hexadecimal SHA-1 of the page's URL."""
    return {path.stem: path for path in folder.rglob("*.story")}


def read_urls(path: Path) -> list[str]:
    """Read the URLs of a split in their order, one per line. Raises InputError if the list cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); --url_lists names the folder of all_train.txt, all_val.txt and "
            "all_test.txt (from github.com/abisee/cnn-dailymail, url_lists)"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def pairs_of_urls(urls: Iterable[str], stories: dict[str, Path]) -> Iterator[Pair]:
    """Yield the pair of every URL in order. Raises InputError if a story is missing or is not UTF-8."""
    for url in urls:
        name = hashlib.sha1(url.encode()).hexdigest()
        if name not in stories:
            raise InputError(
                f"{name}.story, of {url}, is not among the {len(stories):,} stories; "
                "both cnn_stories.tgz and dailymail_stories.tgz are needed, whole"
            )
        try:
            text = stories[name].read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{stories[name]}: byte {error.start} is not UTF-8; extract the archive again") from error
        yield pair_of_story(text)
