import random

import pytest

from bart.tokenization.tokenization_bart import BartTokenizer
from tests.tiny_setup import write_tiny_setup
from utils.data.tokens.encode import encode_texts
from utils.data.tokens.truncation import Truncation, TruncationMeter


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BartTokenizer:
    return BartTokenizer.from_pretrained(write_tiny_setup(tmp_path_factory.mktemp("setup")).tokenizer)


def measured(tokenizer: BartTokenizer, texts: list[str], max_length: int, prefix: str) -> Truncation:
    meter = TruncationMeter(tokenizer, max_length, prefix)
    meter.add([text.encode() for text in texts], encode_texts(texts, tokenizer, max_length, prefix))
    return meter.counts


@pytest.mark.parametrize("prefix", [" ", "", "summarize: "])
@pytest.mark.parametrize("max_length", [12, 24])
def test_what_is_lost_is_what_the_tokens_do_not_spell(tokenizer: BartTokenizer, prefix: str, max_length: int) -> None:
    """Compares with tokens of the full text; tries other scripts, special tokens and texts of the greatest length."""
    draw = random.Random(1)
    pieces = ["word", " argument", "'s", " ", "\u3000", "\t", "12", "\u4e16\u754c", "\u00e9", "\U0001f600", "</s>", "a"]
    texts = ["".join(draw.choices(pieces, k=draw.randrange(40))) for _ in range(300)] + ["argument " * 500]
    backend = tokenizer.backend_tokenizer
    expected = Truncation()
    at_the_limit = 0
    for text in texts:
        encoding = backend.encode(prefix + text)
        expected.texts += 1
        expected.bytes += len(text.encode())
        at_the_limit += len(encoding) == max_length
        if len(encoding) > max_length:
            # The bytes of a "</s>" that is written in a text are counted, too.
            lost = sum(len(token) for token in encoding.tokens[max_length - 1 : -1])
            expected.cut_texts += 1
            expected.cut_bytes += min(lost, len(text.encode()))  # a long prefix may be cut as well
    assert measured(tokenizer, texts, max_length, prefix) == expected
    assert at_the_limit > 0 and 0.1 < expected.share_of_texts < 1 and 0 < expected.share_of_bytes < 1


def test_a_prefix_beyond_the_limit_leaves_nothing(tokenizer: BartTokenizer) -> None:
    assert measured(tokenizer, ["a text"], 4, "a prefix that is too long ") == Truncation(1, 1, 6, 6)


def test_nothing_is_no_division_by_zero() -> None:
    assert Truncation().share_of_texts == Truncation().share_of_bytes == 0
