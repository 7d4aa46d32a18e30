"""The door for JSON of others: what it reads, and what it refuses in one line."""

import json
import math
from pathlib import Path

import pytest

from bart.errors import InputError
from bart.json_files import read_json, read_json_object, shown, write_json_object


def test_what_is_written_is_read(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, None, True, {"b": "日本 \U0001f600 \u2028"}], "bias": [[[5], -math.inf]]}
    write_json_object(content, tmp_path / "x.json")
    assert read_json_object(tmp_path / "x.json") == content


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not JSON: Expecting value"),
        (b'{"a": ', "is not JSON: Expecting value"),
        (b"\xff\xfe{", "is not JSON: 'utf-8' codec can't decode byte 0xff in position 0"),
        ('{"a": 1}'.encode("utf-16"), "is not JSON: 'utf-8' codec can't decode byte"),
        (b'\xef\xbb\xbf{"a": 1}', "is not JSON: it begins with a byte order mark; save it as UTF-8 without one"),
        (b'{"a": 1, "b": 2, "a": 3}', "is not JSON: the key 'a' is there twice; delete one"),
        (b'{"a": [{"a\\nb": 1, "a\\nb": 3}]}', r"the key 'a\nb' is there twice"),
        (b'{"a": NaN}', "is not JSON: NaN is no number of JSON"),
        (b'{"a": Infinity}', "is not JSON: Infinity is no number of JSON"),
        (b'{"a": 1e999}', "is not JSON: '1e999' is too large a number"),
        (b'{"a": ' + b"1" * 5000 + b"}", "is not JSON: Exceeds the limit"),
        (b'{"a": "\\ud800"}', r"is not JSON: it has half a character, such as \ud800"),
        (b"[" * 51 + b"]" * 51, "is not JSON: it has more than 50 levels of lists and objects"),
        (b"[" * 900 + b"]" * 900, "more than 50 levels"),
        (b'{"a":' * 100_000, "more than 50 levels"),
        (b"[{}]", "holds no JSON object: it begins with a list"),
        (b"null", "holds no JSON object: it begins with a null"),
    ],
)
def test_what_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_json_object(path)
    assert str(refusal.value).startswith(str(path)) and said in str(refusal.value)
    assert str(refusal.value).splitlines() == [str(refusal.value)]


def test_what_is_just_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for content in (b"[" * 50 + b"]" * 50, b'"\\ud83d\\ude00"', b"-Infinity", b"1e308", b'[{"a": 1}, {"a": 1}]'):
        path.write_bytes(content)
        assert read_json(path, 1000) == json.loads(content)


def test_too_large_files_are_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"[" + b"1" * 998 + b"]")
    with pytest.raises(InputError, match="larger than"):
        read_json(path, 999)
    path.write_bytes(b"[" + b"[]," * 300 + b"1]")
    with pytest.raises(InputError, match=r"x\.json: has more than 62 values"):
        read_json(path, 1000)
    for name in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(InputError, match=f"{name}: cannot be read: "):
            read_json(name, 1000)


def test_values_in_messages_are_short() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown(list(range(10**5)))) == 60 and shown([1, 2]) == "[1, 2]"
