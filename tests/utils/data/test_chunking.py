import random
import time

import numpy as np
import pytest

from bart.errors import InputError
from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import write_tiny_setup
from utils.data.chunking import pieces, read_sources, sentence_ends
from utils.data.tokens.encode import encode


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BartTokenizer:
    return BartTokenizer.from_pretrained(write_tiny_setup(tmp_path_factory.mktemp("setup")).tokenizer)


SENTENCES = ["The parser reads it.", "Is it an optional argument?", "Dr. Smith formats the help of this action.", "No!"]


def spelled(tokenizer: BartTokenizer, parts: list[np.ndarray]) -> list[str]:
    return [tokenizer.decode(part, skip_special_tokens=True, clean_up_tokenization_spaces=False) for part in parts]


@pytest.mark.parametrize("prefix", [" ", "", "summarize: "])
def test_no_token_is_lost_and_every_piece_fits(tokenizer: BartTokenizer, prefix: str) -> None:
    """Tries texts of sentences, of words longer than a piece, of other scripts and of white space."""
    draw = random.Random(2)
    oddities = ["x" * 90, "\u4e16\u754c\u3002" * 9, "\u2028", " \t ", "word " * 30, "</s>", "\U0001f600" * 12, "!!!"]
    cut = 0
    for _ in range(200):
        text = " ".join(draw.choices([*SENTENCES, *oddities], k=draw.randrange(1, 25)))
        whole = tokenizer(prefix + text)["input_ids"]
        again = tokenizer(prefix.rstrip(), add_special_tokens=False)["input_ids"]
        parts = [part.tolist() for part in pieces(text, tokenizer, 24, prefix)]
        assert all(len(part) <= 24 and part[0] == whole[0] and part[-1] == whole[-1] for part in parts)
        assert all(part[1 : 1 + len(again)] == again for part in parts[1:])
        assert [parts[0][0], *parts[0][1:-1], *(i for part in parts[1:] for i in part[1 + len(again) : -1]), 2] == whole
        cut += len(parts) > 1
    assert cut > 100


def test_pieces_end_with_sentences_and_are_about_equal(tokenizer: BartTokenizer) -> None:
    text = " ".join(SENTENCES * 8)
    parts = pieces(text, tokenizer, 64, " ")
    texts = spelled(tokenizer, parts)
    assert " ".join(text.strip() for text in texts) == text
    assert all(text.rstrip().endswith(tuple(SENTENCES)) for text in texts)
    of_one = len(tokenizer(" " + SENTENCES[0])["input_ids"]) - 2
    parts = pieces(" ".join(SENTENCES[:1] * 31), tokenizer, 10 * of_one + 2, " ")
    assert [(len(part) - 2) / of_one for part in parts] == [8, 8, 8, 7]  # not 10, 10, 10, 1


def test_a_long_sentence_ends_with_a_word_and_a_long_word_with_a_character(tokenizer: BartTokenizer) -> None:
    words = ["argument", "of", "the", "formatter"] * 30
    texts = spelled(tokenizer, pieces(" ".join(words), tokenizer, 24, " "))
    assert len(texts) > 5 and " ".join(text.strip() for text in texts).split() == words
    word = "\u4e16\u754c" * 50  # each of several tokens
    texts = spelled(tokenizer, pieces(word, tokenizer, 24, " "))
    assert len(texts) > 5 and "".join(text.strip() for text in texts) == word


def test_what_fits_is_not_divided(tokenizer: BartTokenizer) -> None:
    """Includes texts of exactly the greatest length."""
    documents = [" ".join(SENTENCES[:count]) for count in range(5)] + [" ".join(SENTENCES * 3), "a"]
    limit = len(tokenizer(" " + documents[3])["input_ids"])
    heads = encode(documents, tokenizer, limit, " ")
    chunked = read_sources(documents, tokenizer, limit, " ", in_pieces=True)
    assert chunked.pieces[[0, 1, 2, 3, 6]].tolist() == [1] * 5
    assert chunked.pieces[4] == 2 and chunked.pieces[5] > 2 and chunked.documents_in_pieces == 2
    for row in range(4):
        assert chunked.tokens[row].tolist() == heads[row].tolist()
    assert chunked.truncation.cut_texts == 0
    cut = read_sources(documents, tokenizer, limit, " ", in_pieces=False)
    assert cut.tokens.tokens.tolist() == heads.tokens.tolist() and cut.truncation.cut_texts == 2


def test_summaries_are_joined_in_order(tokenizer: BartTokenizer) -> None:
    sources = read_sources(["No!", " ".join(SENTENCES), "a"], tokenizer, 24, " ", in_pieces=True)
    count = int(sources.pieces[1])
    assert sources.pieces.tolist() == [1, count, 1] and count > 2
    summaries = [["a", "b"], *([f"s{n}", f"t{n}" if n else ""] for n in range(count)), ["y", ""]]
    expected = [" ".join(f"s{n}" for n in range(count)), " ".join(f"t{n}" for n in range(1, count))]
    assert sources.joined(summaries) == [["a", "b"], expected, ["y", ""]]


def test_a_prefix_that_leaves_no_room(tokenizer: BartTokenizer) -> None:
    with pytest.raises(InputError, match="--max_source_length 8: the prefix"):
        pieces("a text of some words", tokenizer, 8, "summarize what is written here: ")


def test_sentences_beyond_a_window() -> None:
    text = " ".join(SENTENCES * 200)
    starts = [0, *sentence_ends(text)]
    found = [text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    assert found == SENTENCES * 200
    assert sentence_ends("word " * 3000 + "ends. Here") == [len("word " * 3000 + "ends. ")]
    assert sentence_ends("") == sentence_ends("a") == []


@pytest.mark.parametrize("character", ["x", "!"])
def test_the_time_grows_with_the_length(tokenizer: BartTokenizer, character: str) -> None:
    """By itself nupunkt takes a minute for so many exclamation marks."""
    start = time.perf_counter()
    assert len(pieces(character * 200_000, tokenizer, 1024, " ")) == -(-200_001 // 1022)
    assert time.perf_counter() - start < 30
