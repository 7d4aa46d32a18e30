from pathlib import Path

import pytest

from bart.errors import InputError
from tests.utils.corpora.get_data_command import story_name
from utils.corpora.stories import find_stories, pair_of_story, pairs_of_urls, read_urls
from utils.data.formats.pair import Pair


def test_lines_are_joined_and_lacking_periods_added() -> None:
    story = (
        "  LONDON (CNN) -- A Heading  \n\nHe asked: 'Why?'\r\n\nShe said so!\n\n\n"
        "@highlight\n\nFirst point\n\n@highlight\n\nSecond point.\n\n@highlight\n\nA \u201cthird\u201d\n"
    )
    assert pair_of_story(story) == Pair(
        "LONDON (CNN) -- A Heading. He asked: 'Why?' She said so!", "First point. Second point. A \u201cthird\u201d"
    )


@pytest.mark.parametrize("end", [".", "!", "?", "...", "'", "`", '"', "\u2019", "\u201d", ")"])
def test_no_period_after_an_end_mark(end: str) -> None:
    assert pair_of_story(f"Said so{end}\n@highlight\nSo{end}") == Pair(f"Said so{end}", f"So{end}")


@pytest.mark.parametrize("end", ["", ",", ":", "-", "5", "\u201c", "\u2026"])
def test_a_period_after_anything_else(end: str) -> None:
    assert pair_of_story(f"Said so{end}\n@highlight\nSo{end}") == Pair(f"Said so{end}.", f"So{end}.")


def test_an_article_may_be_empty() -> None:
    assert pair_of_story("\n\n@highlight\n\nOnly this\n") == Pair("", "Only this.")


def test_a_line_that_speaks_of_highlights_gets_no_period() -> None:
    assert pair_of_story("See @highlight below\nMore\n") == Pair("See @highlight below More.", "")


def test_unusual_line_separators_do_not_end_a_line() -> None:
    assert pair_of_story("One\u2028two\u0085three\n@highlight\nFour\u2029five") == Pair(
        "One\u2028two\u0085three.", "Four\u2029five."
    )


def test_stories_are_found_by_their_urls_hash_in_the_order_of_the_list(tmp_path: Path) -> None:
    urls = ["http://b.example/2", "http://a.example/1"]
    for number, url in enumerate(urls):
        (tmp_path / f"site{number}" / "stories").mkdir(parents=True)
        path = tmp_path / f"site{number}" / "stories" / story_name(url)
        path.write_text(f"Text {number}\n@highlight\nPoint {number}\n")
    (tmp_path / "all_val.txt").write_text("\n".join(urls) + "\n")
    pairs = pairs_of_urls(read_urls(tmp_path / "all_val.txt"), find_stories(tmp_path))
    assert list(pairs) == [Pair("Text 0.", "Point 0."), Pair("Text 1.", "Point 1.")]


def test_a_story_that_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.story, of http://c\.example, is not among the 0 stories"):
        list(pairs_of_urls(["http://c.example"], {}))
    broken = tmp_path / story_name("http://c.example")
    broken.write_bytes(b"Caf\xe9")
    with pytest.raises(InputError, match=f"{broken.name}: byte 3 is not UTF-8"):
        list(pairs_of_urls(["http://c.example"], find_stories(tmp_path)))
