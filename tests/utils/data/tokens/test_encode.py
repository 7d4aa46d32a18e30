import random
from pathlib import Path

import numpy as np
import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import TinySetup
from utils.data.splits import read_pairs
from utils.data.tokens.encode import decode, encode, encode_texts


def test_encoding_is_the_tokenizers(setup: TinySetup, tokenizer: BartTokenizer) -> None:
    """The ids are those of the tokenizer's own truncation, for more lines than one call takes, too."""
    lines = read_pairs(setup.data, "train").sources * 20
    store = encode(lines, tokenizer, 12, " ")
    assert len(store) == len(lines) == 1220
    for row in (0, 1, 999, 1000, 1219):
        expected = tokenizer(" " + lines[row], max_length=12, truncation=True)["input_ids"]
        assert store[row].tolist() == expected
        assert expected[0] == tokenizer.bos_token_id and expected[-1] == tokenizer.eos_token_id
    assert store.lengths.max() == 12 and store.tokens.dtype == np.uint16


@pytest.mark.parametrize("prefix", [" ", ""])
@pytest.mark.parametrize("max_length", [3, 10, 40])
def test_the_beginning_of_a_long_text_has_its_tokens(tokenizer: BartTokenizer, prefix: str, max_length: int) -> None:
    """Tries long texts of words, white space, contractions, special tokens and other scripts."""
    draw = random.Random(1)
    pieces = ["word", "the", "'s", "'ll", "don't", " ", "  ", "\u3000", "\u00a0", "\t", "12", "...", "\u00b2", "</s>"]
    pieces += ["<mask>", " <mask>", "\u4e16\u754c", "\u00e9", "\U0001f600", "\x1c", "a", "argument", " argument", "\r"]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(400))) for _ in range(300)]
    texts += ["argument " * 100, "a" * 1000, " " * 1000, "\u4e16" * 1000, f"a {' ' * 1000}b", "optional word " * 50]
    expected = tokenizer([prefix + text for text in texts], max_length=max_length, truncation=True)["input_ids"]
    assert [ids.tolist() for ids in encode_texts(texts, tokenizer, max_length, prefix)] == expected


def test_a_token_across_words_is_not_cut(setup: TinySetup) -> None:
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    tokenizer.add_tokens(["of the"])
    text = "of the " * 100
    expected = tokenizer(text, max_length=5, truncation=True)["input_ids"]
    assert encode_texts([text], tokenizer, 5, "")[0].tolist() == expected


def test_a_tokenizer_is_left_as_it_was(setup: TinySetup, tmp_path: Path) -> None:
    tokenizer = BartTokenizer.from_pretrained(setup.tokenizer)
    before = tokenizer.backend_tokenizer.to_str()
    encode(["a text"] * 3, tokenizer, 4, " ")
    assert tokenizer.backend_tokenizer.to_str() == before


def test_a_decoded_text_is_one_line(tokenizer: BartTokenizer) -> None:
    ids = tokenizer([" first\nsecond ", " third"], padding=True, return_tensors="pt")["input_ids"]
    assert decode(ids, tokenizer) == ["first second", "third"]
    unusual = [chr(code) for code in range(0x3000) if chr(code).isspace() or not chr(code).isprintable()]
    ids = tokenizer([f" a{character}b" for character in unusual], padding=True, return_tensors="pt")["input_ids"]
    texts = decode(ids, tokenizer)
    assert all(len(text.splitlines()) == 1 and "\0" not in text for text in texts)
    assert [len(text) for text in texts] == [3] * len(texts)
