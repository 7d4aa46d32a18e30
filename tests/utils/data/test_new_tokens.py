"""Files of new tokens: what is added, what is left out and said, what is refused."""

import random
from pathlib import Path

import pytest

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup, tiny_config
from utils.data.chunking import pieces
from utils.data.new_tokens import add_tokens_of_file, check_tokens_of_file, grown
from utils.data.tokens.encode import decode, encode_texts
from utils.data.tokens.truncation import TruncationMeter

CONFIG = tiny_config()  # 400 tokens, <mask> the last


@pytest.fixture
def own(setup: TinySetup) -> BartTokenizer:
    """May be changed."""
    return BartTokenizer.from_pretrained(setup.tokenizer)


def words(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(content, encoding="utf-8")
    return path


def test_each_token_is_the_mean_of_what_the_tokenizer_had_for_it(own: BartTokenizer, tmp_path: Path) -> None:
    before = {text: own(text, add_special_tokens=False).input_ids for text in ("COVID-19", "naïveté", "New York")}
    path = words(tmp_path, "\ufeffCOVID-19\r\nnaïveté\nNew York")
    new = add_tokens_of_file(path, own, CONFIG)
    assert new.pieces == {400: before["COVID-19"], 401: before["naïveté"], 402: before["New York"]}
    assert new.vocab_size == 400 and grown(CONFIG, new) == CONFIG.copy(vocab_size=403)
    assert new.remarks == [
        f"--add_tokens {path}: added 3 tokens (COVID-19, naïveté, New York); the tokenizer has 403 now"
    ]
    text = " the COVID-19 of New York, naïveté"
    assert {400, 401, 402} <= set(own(text).input_ids)
    assert decode([own(text).input_ids], own) == [text.strip()]
    check_tokens_of_file(path, own)


def test_what_is_left_out_is_said(own: BartTokenizer, tmp_path: Path) -> None:
    """Each in a line: empty lines, repeated ones, and what is a token already, also after a space alone."""
    assert "return" not in own.get_vocab() and "Ġreturn" in own.get_vocab()
    path = words(tmp_path, "one-two\n\nreturn\none-two\n  \n<mask>\nself\n")
    new = add_tokens_of_file(path, own, CONFIG)
    assert list(new.pieces) == [400] and "return" not in own.get_added_vocab()
    assert [remark.removeprefix(f"--add_tokens {path}: ") for remark in new.remarks] == [
        "added 1 token (one-two); the tokenizer has 401 now",
        "left out, as empty: line 2, 5",
        "left out, as repeated: one-two",
        "left out, as the tokenizer has 3 tokens (return, <mask>, self)",
    ]
    check_tokens_of_file(path, own)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("ok-1\n ok-2\n", "line 2: ' ok-2' begins or ends with white space, or holds a line break; remove it"),
        ("ok-1\nok\u2028ok\n", "line 2: 'ok\\u2028ok' begins or ends"),
        ("ok-1\nx<mask>y\n", "line 2: 'x<mask>y' holds another token, which is read first; remove it"),
        ("ok-1\né\n", "line 2: 'é' is the tokenizer's name for other bytes; remove it"),
        ("", "holds no new token"),
        ("return\n\n", "no new token; left out, as empty: line 2; left out, as the tokenizer has 1 token (return)"),
        ("ok-1\nok\0-2\n", "line 2, byte 3 is NUL"),
    ],
)
def test_what_is_no_token_is_refused(own: BartTokenizer, tmp_path: Path, content: str, named: str) -> None:
    path = words(tmp_path, content)
    with pytest.raises(InputError) as refused:
        add_tokens_of_file(path, own, CONFIG)
    assert str(path) in str(refused.value) and named in str(refused.value) and "\n" not in str(refused.value)


def test_a_missing_file_is_refused(own: BartTokenizer, tmp_path: Path) -> None:
    for check in (lambda path: add_tokens_of_file(path, own, CONFIG), lambda path: check_tokens_of_file(path, own)):
        for path in (tmp_path / "absent", tmp_path):
            with pytest.raises(InputError, match=f"--add_tokens {path}: no such file"):
                check(path)


def test_a_resumed_run_is_given_the_same_tokens(own: BartTokenizer, tmp_path: Path) -> None:
    add_tokens_of_file(words(tmp_path, "one-two\n"), own, CONFIG)
    path = words(tmp_path, "one-two\nreturn\nthree-four\n")
    with pytest.raises(InputError, match=f"^--resume: --add_tokens {path}: line 3: 'three-four' is not among the tok"):
        check_tokens_of_file(path, own)


def test_ids_with_gaps_are_not_given_twice(own: BartTokenizer, tmp_path: Path) -> None:
    """The library would give the first new token the id after as many as there are, which may be taken."""
    names = sorted(own.get_vocab(), key=lambda token: (token != "<mask>", own.get_vocab()[token]))
    gap = BartTokenizer(vocab={token: number + (number > 300) for number, token in enumerate(names)}, merges=[])
    with pytest.raises(InputError, match="the tokenizer's ids have gaps"):
        add_tokens_of_file(words(tmp_path, "one-two\n"), gap, CONFIG)


def test_a_model_without_mask_gets_a_row_for_it_and_spare_rows_are_used(own: BartTokenizer, tmp_path: Path) -> None:
    path = words(tmp_path, "one-two\n")
    smaller, larger = CONFIG.copy(vocab_size=399), CONFIG.copy(vocab_size=420)
    new = add_tokens_of_file(path, own, smaller)
    assert new.pieces[399] == [own.unk_token_id] and list(new.pieces) == [400, 399]
    assert grown(smaller, new).vocab_size == 401 and grown(larger, new).vocab_size == 420


@pytest.mark.parametrize("tokens", [["one-two", "日本", "naïveté"], ["one-two", "of the"]])
def test_the_fast_ways_to_read_texts_know_them(own: BartTokenizer, tmp_path: Path, tokens: list[str]) -> None:
    """Long texts whose beginning alone is read, lost bytes, and documents in pieces."""
    add_tokens_of_file(words(tmp_path, "\n".join(tokens)), own, CONFIG)
    draw = random.Random(2)
    parts = [*tokens, " ", "  ", "word", " argument", "of", " the", ".", "日", "one", "-", "é", "\t"]
    texts = ["".join(draw.choices(parts, k=draw.randrange(600))) for _ in range(40)]
    full = own([f" {text}" for text in texts]).input_ids
    assert sum(400 in ids for ids in full) > 20
    for length in (3, 12, 40):
        expected = own([f" {text}" for text in texts], max_length=length, truncation=True).input_ids
        encoded = encode_texts(texts, own, length, " ")
        assert [ids.tolist() for ids in encoded] == expected
        meter = TruncationMeter(own, length, " ")
        meter.add([text.encode() for text in texts], encoded)
        assert meter.counts.cut_texts == sum(len(ids) > length for ids in full)
    for text, ids in zip(texts, full, strict=True):
        body = [token for piece in pieces(text, own, 40, "") for token in piece[1:-1].tolist()]
        assert body == own(text).input_ids[1:-1] and len(ids) >= 2
