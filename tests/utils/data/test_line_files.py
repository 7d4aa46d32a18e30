from pathlib import Path

import pytest

from bart.errors import InputError
from utils.data.line_files import one_line, read_lines, scan


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            "a\u2028b\x85c\x0bd\x0ce\x1cf\rg\r\n\n h \nlast".encode(),
            ["a\u2028b\x85c\x0bd\x0ce\x1cf\rg", "", " h ", "last"],
        ),
        (b"one\n", ["one"]),
        (b"one\r\ntwo\r\r\n\r\n", ["one", "two\r", ""]),
        (b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n", ["one", "\ufefftwo"]),
        (b"\n", [""]),
        (b"\xef\xbb\xbf\n", [""]),
        (b"\xef\xbb\xbf", []),
        (b"", []),
        ("\u00e4".encode() * 700_000 + b"\nnext", ["\u00e4" * 700_000, "next"]),  # more than a block
    ],
)
def test_lines_end_at_newlines_alone(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    assert read_lines(path) == lines
    assert scan(path).lines == len(lines)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"good\nb\xffd\n", r"line 2 is not UTF-8 at byte 2 \(0xff\)"),
        (b"good\n\nb\x00d\n", "line 3, byte 2 is NUL"),
        (b"\xef\xbb\xbfab\xe2\x80\n", r"line 1 is not UTF-8 at byte 6 \(0xe2\)"),
        (b"x" * (2**20 - 1) + b"\xe2\x80", r"line 1 is not UTF-8 at byte 1048576"),  # cut off, and across blocks
        ("one\n".encode("utf-16"), r"line 1 is not UTF-8 at byte 1 \(0xff\)"),
    ],
)
def test_the_place_of_a_fault_is_named(tmp_path: Path, content: bytes, place: str) -> None:
    path = tmp_path / "train.source"
    path.write_bytes(content)
    for read in (read_lines, scan):
        with pytest.raises(InputError, match=rf"train\.source: {place}"):
            read(path)


def test_a_scan_tells_contents_apart(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("one\n")
    before = scan(path)
    before.check_unchanged()
    path.write_text("two\nthree\n")
    assert scan(path).digest != before.digest
    with pytest.raises(InputError, match="lines: was changed"):
        before.check_unchanged()


def test_one_line_is_one_for_every_reader() -> None:
    breaking = [chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) > 1]
    assert len(breaking) == 10
    assert one_line("".join(f" x{character}y" for character in breaking)) == " ".join(["x y"] * 10)
